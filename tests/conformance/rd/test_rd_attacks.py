"""Who attacks the resource directory: names of others, bases that are no one's, floods."""

import pytest

from adapters.coap.wire.codec import CON, Message, code_text, encode
from adapters.coap.wire.formats import read_problem
from adapters.coap.wire.options import ECHO
from registry.link_format import MAX_BYTES
from tests.adapters.coap_site import path_options
from tests.adapters.live import until
from tests.conformance.clauses import clause
from tests.conformance.rd.nodes import LINK_FORMAT, Registrant, is_live

pytestmark = pytest.mark.asyncio(loop_scope="module")


def code(answer):
    return code_text(answer.code)


async def register_as(site, token, query, links=b"</t>;rt=t"):
    return await site.ask(
        "POST",
        f"/$site/registry/rd-register?{query}",
        links,
        "Content-Type: application/link-format",
        token=token,
    )


@clause("RFC9176-7.5")
async def test_an_endpoints_name_is_its_first_principals(site, device):
    alice, bob = await site.token_for("user:alice"), await site.token_for("user:bob")
    base = "base=coap://127.0.0.1:7001"
    answer = await register_as(site, alice, f"ep=hers&{base}")
    assert answer.status == 200, answer
    location = answer.json()["location"]
    answer = await register_as(site, bob, f"ep=hers&{base}")
    assert answer.status == 409
    assert b"another principal" in answer.body
    assert code(await device.rd("POST", f"rd?ep=hers&{base}", b"", LINK_FORMAT)) == "4.09"
    assert code(await device.rd("POST", f"rd/{location}?{base}")) == "4.03"
    assert code(await device.rd("DELETE", f"rd/{location}")) == "4.03"
    for method in ("rd-update", "rd-remove"):
        answer = await site.ask("POST", f"/$site/registry/{method}?location={location}", token=bob)
        assert answer.status == 403
    # It is hers also when its lifetime has ended, until she removes it.
    for wanted in ("alice", "bob"):
        found = await device.lookup("ep", "ep=hers")
        assert found, wanted
    answer = await site.ask("POST", f"/$site/registry/rd-remove?location={location}", token=alice)
    assert answer.status == 200
    assert (await register_as(site, bob, f"ep=hers&{base}")).status == 200


@clause("RFC9176-7.5")
async def test_an_expired_endpoints_name_is_still_its_first_principals(site, device):
    alice, bob = await site.token_for("user:alice"), await site.token_for("user:bob")
    answer = await register_as(site, alice, "ep=lapsed&lt=1&base=coap://127.0.0.1:7002")
    assert answer.status == 200
    await until(lambda: not is_live(site, "lapsed"))
    assert await device.lookup("ep", "ep=lapsed") == ""
    answer = await register_as(site, bob, "ep=lapsed&base=coap://127.0.0.1:7002")
    assert answer.status == 409


@clause("RFC9176-7.5")
async def test_only_the_owner_sees_what_was_submitted(site):
    alice, bob = await site.token_for("user:alice"), await site.token_for("user:bob")
    await register_as(site, alice, "ep=private&base=coap://127.0.0.1:7003")
    path = "/$site/registry/rd-resources?ep=private&view=submitted"
    items = (await site.ask("GET", path, token=alice)).json()["items"]
    assert items == [{"href": "coap://127.0.0.1:7003/t", "rt": "t"}]
    assert (await site.ask("GET", path, token=bob)).json()["items"] == []


@clause("RFC9176-7.3")
async def test_who_may_not_describe_a_resource_does_not_find_it(site, device):
    await device.register("ep=hidden", b"</seen>;rt=h,</secret>;rt=h")
    await site.apply(
        "AccessPolicy",
        "no-secret",
        {
            "effect": "deny",
            "subjects": [{"principal": "*"}],
            "actions": ["describe"],
            "names": ["endpoints/hidden/secret"],
        },
    )
    try:
        found = await device.lookup("res", "rt=h")
        assert "hidden/seen" in found
        assert "secret" not in found
    finally:
        await site.delete("no-secret")


@pytest.mark.parametrize("what", ["control", "http", "coap"])
async def test_a_base_is_no_listener_of_this_site(site, device, what):
    application = site.application
    ports = {
        "control": f"http://127.0.0.1:{application.control_port}",
        "http": f"http://127.0.0.1:{application.http_port}",
        "coap": f"coap://127.0.0.1:{application.devices.coap_port}",
    }
    answer = await device.rd("POST", f"rd?ep=evil&base={ports[what]}", b"</x>", LINK_FORMAT)
    assert code(answer) == "4.03"
    assert "listener of this site" in read_problem(answer.payload)
    link = f"<{ports[what]}/x>".encode()
    answer = await device.rd("POST", "rd?ep=evil", link, LINK_FORMAT)
    assert code(answer) == "4.03"


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "192.0.2.7", "0.0.0.0", "[fe80::1]", "[ff02::fd]"]
)
async def test_a_base_is_no_neighbour(device, host):
    answer = await device.rd("POST", f"rd?ep=evil&base=coap://{host}", b"</x>", LINK_FORMAT)
    assert code(answer) == "4.03"
    assert await device.lookup("ep", "ep=evil") == ""


async def test_who_may_not_bind_registers_nothing(site):
    token = await site.token_for("user:carol")
    await site.apply(
        "AccessPolicy",
        "no-bind",
        {
            "effect": "deny",
            "subjects": [{"principal": "user:carol"}],
            "actions": ["bind"],
            "names": ["endpoints/**"],
        },
    )
    try:
        answer = await register_as(site, token, "ep=carols&base=coap://127.0.0.1:7004")
        assert answer.status == 403
        assert b"bind" in answer.body
    finally:
        await site.delete("no-bind")


@clause("RFC9176-8.4")
async def test_a_lookup_sends_no_more_than_three_times_its_request_to_who_is_not_there(
    site, device
):
    links = b",".join(b"</flood/%d>;rt=flood" % n for n in range(60))
    await device.register("ep=flood", links)
    with Registrant(site.application.devices.coap_port) as stranger:
        options = path_options("rd-lookup/res?rt=flood")
        request = encode(Message(CON, 1, 9, b"z", options, b""))
        stranger.raw(request)
        got = 0
        while True:
            try:
                got += len(await stranger.datagram(0.3))
            except TimeoutError:
                break
        assert 0 < got <= 3 * len(request)


@clause("RFC9176-5.1", "RFC9176-8.4")
async def test_nobody_is_asked_for_links_who_did_not_show_itself(site):
    with Registrant(site.application.devices.coap_port) as victim:
        answer = await victim.ask(2, ".well-known/rd?ep=spoofed")
        assert code(answer) == "4.01"
        assert answer.value(ECHO)
        assert await victim.silent(0.3)
        wrong = (ECHO, bytes(len(answer.value(ECHO))))
        assert code(await victim.ask(2, ".well-known/rd?ep=spoofed", b"", wrong)) == "4.01"
        assert await victim.silent(0.3)


async def test_who_did_not_show_itself_has_no_base(site):
    with Registrant(site.application.devices.coap_port) as stranger:
        answer = await stranger.ask(2, "rd?ep=spoofed", b"</a>", LINK_FORMAT)
        assert code(answer) == "4.01"
        location = "rd/0123456789abcdef"
        assert code(await stranger.ask(2, location)) == "4.01"
        assert code(await stranger.ask(4, location)) == "4.01"
        # What is given is bound only from where it is allowed to be.
        answer = await stranger.ask(
            2, "rd?ep=spoofed&base=coap://127.0.0.1:7005", b"</a>", LINK_FORMAT
        )
        assert code(answer) == "4.01"


async def test_giant_lists_are_refused(site):
    token = await site.token_for("user:giant")
    base = "base=coap://127.0.0.1:7006"
    for links in (
        b",".join([b"</a>"] * 300),
        b'</a>;title="' + b"x" * 2000 + b'"',
        b"," * MAX_BYTES,
        b"</a>" * (MAX_BYTES // 4 + 1),
    ):
        answer = await register_as(site, token, f"ep=giant&{base}", links)
        assert answer.status == 400, answer


async def test_noise_is_never_an_error_of_the_gateway(site, device):
    await device.register("ep=noise")
    for query in ("ep", "ep=", "=", "ep=%", "page=%C3%28&count=1", "count=99999999999", "view=x"):
        for path in ("rd-lookup/ep", "rd-lookup/res"):
            answer = await device.rd("GET", f"{path}?{query}")
            assert code(answer) in ("2.05", "4.00"), (path, query)
    for path in ("rd/x/y", "rd-lookup", "rd-lookup/xx"):
        assert code(await device.rd("GET", path))[0] == "4"
    assert code(await device.rd("GET", "rd")) == "4.05"
    assert code(await device.rd("POST", "rd-lookup/ep")) == "4.05"
    assert code(await device.rd("POST", ".well-known/rd?ep=x", b"</a>", LINK_FORMAT)) == "4.05"
