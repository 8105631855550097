"""RFC 9176, section by section, over datagrams."""

import pytest

from adapters.coap.serving.asked import Block
from adapters.coap.wire.codec import CON, Message, code_text, decode, encode
from adapters.coap.wire.formats import read_problem
from adapters.coap.wire.options import BLOCK1, ECHO, ordered
from tests.adapters.coap_site import path_options
from tests.adapters.live import until
from tests.conformance.clauses import clause
from tests.conformance.rd.nodes import LINK_FORMAT, Registrant, is_live, node

pytestmark = pytest.mark.asyncio(loop_scope="module")


def code(answer):
    return code_text(answer.code)


@clause("RFC9176-4.1", "RFC9176-4.3")
async def test_the_directory_is_discovered_by_resource_type(device):
    answer = await device.rd("GET", ".well-known/core?rt=core.rd*")
    assert answer.payload.decode().split(",") == [
        '</rd>;rt="core.rd";ct=40',
        '</rd-lookup/ep>;rt="core.rd-lookup-ep";ct=40',
        '</rd-lookup/res>;rt="core.rd-lookup-res";ct=40',
    ]
    answer = await device.rd("GET", ".well-known/core?rt=core.rd")
    assert answer.payload == b'</rd>;rt="core.rd";ct=40'


@clause("RFC9176-5", "RFC9176-5.2", "WOT-introduction-core-rd-directory")
async def test_a_registration_is_created_and_has_a_location(site, device):
    async with node() as home:
        # Another port than the device's own: who registers may stand for others.
        location = await device.register(f"ep=node1&base=coap://127.0.0.1:{home.port}")
        assert location.startswith("rd/")
        assert await device.register(f"ep=node1&base=coap://127.0.0.1:{home.port}") == location
        answer = await device.rd("GET", "endpoints/node1/sensors:temp")
        assert answer.payload == b"this is sensors/temp"


@clause("RFC9176-5")
async def test_the_base_is_where_the_registration_came_from_if_it_does_not_say(site, device):
    await device.register("ep=plain")
    own = device._socket.getsockname()[1]
    found = await device.lookup("ep", "ep=plain&view=submitted")
    assert f'base="coap://127.0.0.1:{own}"' in found


@clause("RFC9176-5")
@pytest.mark.parametrize(
    "query",
    [
        "base=coap://127.0.0.1",
        f"ep={'x' * 64}",
        "ep=",
        "ep=a&ep=b",
        "ep=a&lt=0",
        "ep=a&lt=4294967296",
        "ep=a&lt=-1",
        "ep=a&lt=1e9",
        f"ep=a&d={'d' * 64}",
        "ep=a&base=coap://127.0.0.1/path",
        "ep=a&base=coaps://127.0.0.1",
        "ep=a&base=ftp://127.0.0.1",
        "ep=a&base=nowhere",
        "ep=a&rt=x",
        "ep=a&page=1",
        "ep=%24a",
        "ep=..",
    ],
)
async def test_wrong_parameters_are_bad_requests(device, query):
    query = query.replace("%24", "$")
    answer = await device.rd("POST", f"rd?{query}", b"</a>", LINK_FORMAT)
    assert code(answer) == "4.00"
    assert read_problem(answer.payload)


@clause("RFC9176-5")
@pytest.mark.parametrize("links", [b"</a", b"</a>,", b"a", b"<a>", b"<//h/a>", b"</a>;rt=x;rt=y"])
async def test_links_are_read_strictly(device, links):
    answer = await device.rd("POST", "rd?ep=wrong", links, LINK_FORMAT)
    assert code(answer) == "4.00"
    assert "link" in read_problem(answer.payload)


@clause("RFC9176-5")
async def test_links_of_another_format_are_refused(device):
    answer = await device.rd("POST", "rd?ep=xml", b"<a/>", (12, b"\x29"))
    assert code(answer) == "4.15"


@clause("RFC9176-5.1")
async def test_a_simple_registration_fetches_the_links(site, device):
    async with node() as home:
        # The device asks from the socket that it serves on.
        device_port = site.application.devices.coap_port
        answers = []
        home_received = home.datagram_received

        def both(data, address):
            if address[1] == device_port:
                answers.append(data)
            else:
                home_received(data, address)

        home.datagram_received = both
        await simple(home, device_port, answers)
        await until(lambda: ".well-known/core" in home.asked)
        await until(lambda: "localhost/endpoints/simple1" in site.application.site.catalog.names)
        assert "light" in await device.lookup("res", "ep=simple1")


async def simple(home, port, answers):
    """Register simply from a device's own socket, with the Echo that it is given."""
    options = path_options(".well-known/rd?ep=simple1")
    home.transport.sendto(encode(Message(CON, 2, 77, b"s", options, b"")), ("127.0.0.1", port))
    await until(lambda: answers)
    challenge = decode(answers.pop())
    assert code(challenge) == "4.01"
    echo = challenge.value(ECHO)
    options = ordered([*options, (ECHO, echo)])
    home.transport.sendto(encode(Message(CON, 2, 78, b"s", options, b"")), ("127.0.0.1", port))
    await until(lambda: answers)
    assert code(decode(answers.pop())) == "2.04"


@clause("RFC9176-5.3.1")
async def test_an_update_begins_the_lifetime_anew_and_changes_what_it_says(device):
    location = await device.register("ep=upd&lt=500&et=lamp")
    assert code(await device.rd("POST", location)) == "2.04"
    assert "lt=500" in await device.lookup("ep", "ep=upd")
    assert code(await device.rd("POST", f"{location}?lt=700&et=heater")) == "2.04"
    found = await device.lookup("ep", "ep=upd")
    assert "lt=700" in found
    assert 'et="heater"' in found
    assert "lamp" not in found


@clause("RFC9176-5.3.1")
async def test_an_update_keeps_a_base_that_was_given_and_moves_one_that_was_not(site, device):
    given = await device.register("ep=given&base=coap://127.0.0.1:7777")
    assumed = await device.register("ep=assumed")
    with Registrant(site.application.devices.coap_port) as moved:
        assert code(await moved.rd("POST", given)) == "2.04"
        assert code(await moved.rd("POST", assumed)) == "2.04"
        own = moved._socket.getsockname()[1]
    assert ":7777" in await device.lookup("ep", "ep=given&view=submitted")
    assert f":{own}" in await device.lookup("ep", "ep=assumed&view=submitted")


@clause("RFC9176-5.3.1")
async def test_what_an_update_cannot_do_is_refused(device):
    location = await device.register("ep=fixed")
    assert code(await device.rd("POST", "rd/0123456789abcdef")) == "4.04"
    assert code(await device.rd("POST", f"{location}?ep=other")) == "4.00"
    assert code(await device.rd("POST", location, b"</a>", LINK_FORMAT)) == "4.00"
    assert code(await device.rd("PUT", location)) == "4.05"


@clause("RFC9176-5.3.2")
async def test_a_removed_registration_is_found_no_more(device):
    location = await device.register("ep=gone")
    assert "gone" in await device.lookup("ep", "ep=gone")
    assert code(await device.rd("DELETE", location)) == "2.02"
    assert await device.lookup("ep", "ep=gone") == ""
    assert code(await device.rd("DELETE", location)) == "4.04"


@clause("RFC9176-5", "RFC9176-6")
async def test_a_registration_ends_with_its_lifetime(site, device):
    location = await device.register("ep=brief&lt=1")
    assert "brief" in await device.lookup("ep", "ep=brief")
    await until(lambda: not is_live(site, "brief"))
    assert await device.lookup("ep", "ep=brief") == ""
    assert code(await device.rd("POST", location)) == "4.04"


@clause("RFC9176-4.2", "RFC9176-6.1")
async def test_resources_are_found_where_the_gateway_has_them(site, device):
    await device.register("ep=res")
    port = site.application.devices.coap_port
    found = await device.lookup("res", "ep=res&rt=temperature-c")
    assert found == (
        f'<coap://127.0.0.1:{port}/endpoints/res/sensors:temp>;rt="temperature-c";if="core.s";obs'
    )


@clause("RFC9176-6.2")
@pytest.mark.parametrize(
    ("query", "hits"),
    [
        ("rt=fil*", 3),
        ("rt=filter-a", 1),
        ("rt=filter-b&if=core.s", 1),
        ("if=core.s", 1),
        ("et=oic.d.sensor", 3),
        ("et=oic.d.*", 3),
        ("ct=41", 1),
        ("x-note=hello", 1),
        ("d=cellar", 3),
        ("d=cell", 0),
        ("obs=", 1),
        ("title=none", 0),
    ],
)
async def test_resources_are_filtered(device, query, hits):
    links = (
        b'</a>;rt="filter-a filters";ct=41,</b>;rt="filter-b";if="core.s",'
        b'</c>;rt="filter-c";obs;x-note="hello"'
    )
    await device.register("ep=fil&d=cellar&et=oic.d.sensor", links)
    found = await device.lookup("res", f"ep=fil&{query}")
    assert found.count("</") + found.count("<coap") == hits


@clause("RFC9176-6.2")
async def test_targets_are_filtered_and_answers_come_in_pages(site, device):
    links = b",".join(b"</p/%d>;rt=paged" % n for n in range(5))
    await device.register("ep=pages", links)
    everything = (await device.lookup("res", "rt=paged")).split(",")
    assert len(everything) == 5
    pages = [await device.lookup("res", f"rt=paged&count=2&page={n}") for n in range(4)]
    assert ",".join(pages[:3]) == ",".join(everything)
    assert pages[3] == ""
    port = site.application.devices.coap_port
    href = f"coap://127.0.0.1:{port}/endpoints/pages/p:3"
    assert len((await device.lookup("res", f"href={href}")).split(",")) == 1
    assert len((await device.lookup("res", f"href={href[:-1]}*&ep=pages")).split(",")) == 5
    assert code(await device.rd("GET", "rd-lookup/res?page=1")) == "4.00"
    assert code(await device.rd("GET", "rd-lookup/res?count=0")) == "4.00"


@clause("RFC9176-6.4")
async def test_endpoints_are_found_by_their_own_and_their_resources_attributes(device):
    location = await device.register("ep=pointed&et=x.y&d=roof", b"</t>;rt=roof-temp")
    for query in ("ep=pointed", "d=roof", "et=x.y", "rt=roof-temp", "et=x.*&rt=roof*"):
        found = await device.lookup("ep", query)
        assert found.startswith(f'</{location}>;ep="pointed";d="roof"'), query
        assert found.endswith('rt="core.rd-ep"')
    assert await device.lookup("ep", "ep=pointed&rt=other") == ""


@clause("RFC9176-5")
async def test_a_sector_tells_endpoints_of_one_name_apart(device):
    one = await device.register("ep=twin&d=north")
    two = await device.register("ep=twin&d=south")
    assert one != two
    assert (await device.lookup("ep", "ep=twin")).count("rd-ep") == 2


@clause("RFC9176-5")
async def test_many_links_come_and_go_block_by_block(device):
    await device.rd("POST", "rd?ep=shown")  # so that it is known where this client is
    links = b",".join(b'</r/%d>;rt="many";title="number %d"' % (n, n) for n in range(80))
    parts = [links[at : at + 1024] for at in range(0, len(links), 1024)]
    for number, part in enumerate(parts):
        block = (BLOCK1, Block(number, number < len(parts) - 1, 6).value())
        answer = await device.ask(2, "rd?ep=many", part, LINK_FORMAT, block)
        assert code(answer) == ("2.31" if number < len(parts) - 1 else "2.01"), answer
    assert (await device.lookup("res", "ep=many")).count('rt="many"') == 80
