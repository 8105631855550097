"""The registry attacked: where descriptions lead, what they say of others, and who sees what.

One site of its own for all; each attack has names of its own there.
"""

import json
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import pytest

from tests.adapters.live import live_site
from tests.adapters.test_http_egress import Resolver, own_addresses
from tests.conformance.wot.things import DirectoryClient, new_id, path_of
from tests.running import Gateway
from tests.site.registry import CONFIG, Trap, named, registrant
from tests.site.registry_sweep import called, everything_said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("registry"), config=CONFIG) as running:
        yield running


def asked(client: DirectoryClient, method: str, document: object) -> int:
    """Call a method of the registry as a client; return the HTTP status."""
    body = json.dumps(document)
    path = f"/$site/registry/{method}"
    kind = {"content_type": "application/json"}
    return client.site.http("POST", path, body, token=client.token, **kind).status


# Where a description leads

HERE = [
    *("127.0.0.1", "127.0.0.9", "localhost", "LOCALHOST.", "localhost.", "127.0.0.1."),
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]"),
    *("2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "%31%32%37.0.0.1"),
    *("u@127.0.0.1", "127.0.0.1%2f", "[::1%25lo]", "１２７.0.0.1", "127。0。0。1"),  # noqa: RUF001
]
AFAR = [
    *("169.254.169.254", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "2852039166"),
    *("0xa9fea9fe", "169.254.43518", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]"),
    *("[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::1]", "100.100.100.200", "168.63.129.16"),
    *("224.0.0.1", "[ff02::1]", "255.255.255.255", "192.0.2.7", "10.0.0.1", "[2001:db8::1]"),
]


def ways(site: Gateway) -> dict[str, str]:
    """Return the scheme by which each listener of a site would be called, by its port."""
    urls = {key: url for key, url in site.ready.items() if "://" in str(url)}
    schemes = {"mqtt": "mqtt", "coap": "coap"}
    return {str(urlsplit(url).port): schemes.get(key, "http") for key, url in urls.items()}


def leads_nowhere(client: DirectoryClient, id_: str, name: str) -> bool:
    """Return whether a description was taken, but for the ways that it tells."""
    reply = client.site.http("POST", f"/{name}/toggle", b"{}", token=client.token)
    shown = client.site.http("GET", f"/{name}?format=json").json()
    assert shown["methods"]["toggle"]["bindings"] == []
    client.ask("DELETE", path_of(id_))
    return reply.status in (404, 501, 503)


def lead(client: DirectoryClient, url: str) -> None:
    """Fail if a description may lead to a URL: as the base of forms, or as a source of events."""
    document = named("mallory/way", url)
    reply = client.put(document)
    if reply.status == 201:
        assert leads_nowhere(client, str(document["id"]), "mallory/way"), url
    else:
        assert reply.status in (400, 403), (url, reply.body)


def test_no_spelling_of_a_listener_of_ours_is_a_target(site):
    mallory = registrant(site, "mallory")
    hosts = HERE + own_addresses()
    for port, scheme in ways(site).items():
        for host in hosts:
            lead(mallory, f"{scheme}://{host}:{port}")
            if scheme == "http":
                lead(mallory, f"HTTP://{host}:00{port}/things/")


def test_nor_are_the_metadata_service_and_neighbours(site):
    mallory = registrant(site, "mallory")
    for host in AFAR:
        for scheme in ("http", "coap", "mqtt"):
            lead(mallory, f"{scheme}://{host}:8080")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost.", "[::ffff:7f00:1]"])
def test_nor_is_any_of_them_by_a_call_a_base_or_a_source(site, host):
    mallory = registrant(site, "mallory")
    targets = [f"{scheme}://{host}:{port}" for port, scheme in ways(site).items()]
    for url in [*targets, "http://169.254.169.254:80", "coap://[fe80::1]", "mqtt://192.0.2.7"]:
        objects = [{"name": "mallory/m", "methods": {"m": {"endpoints": [{"url": f"{url}/x"}]}}}]
        if not url.startswith("http"):
            objects.append({"name": "mallory/c", "channels": {"c": {"sources": [f"{url}/x"]}}})
        manifest = {"apiVersion": "hilum/v1", "microservice": "M", "version": "1", "lease": 60}
        for each in objects:
            assert asked(mallory, "register", {**manifest, "objects": [each]}) in (403, 422), url
        assert asked(mallory, "put-thing", named("mallory/call", url)) in (400, 403), url
        if not url.startswith("mqtt"):
            said = {"ep": "mallory", "base": url, "links": "</x>"}
            assert asked(mallory, "rd-register", said) in (400, 403), url
            said = {"ep": "mallory", "base": "coap://127.0.0.1:9", "links": f"<{url}/x>"}
            assert asked(mallory, "rd-register", said) in (400, 403), url


def test_a_patch_and_an_update_lead_nowhere_else_either(site):
    mallory = registrant(site, "mallory")
    document = named("mallory/patched")
    assert mallory.put(document).status == 201
    for base in (site.control, "http://169.254.169.254"):
        kind = "application/merge-patch+json"
        for patch in ({"base": base}, {"actions": {"toggle": {"forms": [{"href": base + "/x"}]}}}):
            reply = mallory.ask("PATCH", path_of(str(document["id"])), patch, kind)
            assert reply.status in (400, 403)
    said = {"ep": "moving", "base": "coap://127.0.0.1:9", "links": "</x>"}
    path, kind = "/$site/registry/rd-register", "application/json"
    made = site.http("POST", path, json.dumps(said), token=mallory.token, content_type=kind)
    moved = {"location": made.json()["location"], "base": site.control}
    assert asked(mallory, "rd-update", moved) == 403


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_device_that_redirects_is_not_followed(site, status):
    mallory = registrant(site, "mallory")
    with Trap() as trap, Trap(status, trap.url + "/$site/policy/apply") as device:
        assert mallory.put(named(f"mallory/turn{status}", device.url)).status == 201
        for verb, path in (("POST", "toggle"), ("GET", "status")):
            name = f"/mallory/turn{status}/{path}"
            assert site.http(verb, name, token=mallory.token).status == status
        assert len(device.asked) == 2
        assert trap.asked == []


async def test_a_name_that_leads_elsewhere_after_it_was_checked_is_checked_again(
    tmp_path, monkeypatch
):
    """DNS that changes its answer between the registration and the call, and between calls."""
    resolver = Resolver(monkeypatch)
    async with live_site(tmp_path) as live:
        with Trap() as device:
            port = device.server_address[1]
            resolver.addresses["rebound.example"] = ["127.0.0.1"]
            document = named("rebound", f"http://rebound.example:{port}")
            kind = "Content-Type: application/td+json"
            body = json.dumps(document).encode()
            put = await live.ask("POST", "/$site/registry/put-thing", body, kind)
            assert put.status == 200, put
            assert (await live.ask("POST", "/rebound/toggle")).status == 200
            live.application.http.sweep(float("inf"))  # what is open is no address any more
            for address in ("169.254.169.254", "192.0.2.99", "::ffff:169.254.169.254", "fe80::1"):
                resolver.addresses["rebound.example"] = [address]
                answer = await live.ask("POST", "/rebound/toggle")
                assert answer.status == 503, address
            own = live.application.control_port
            document = named("rebound-here", f"http://other.example:{own}")
            resolver.addresses["other.example"] = ["192.0.2.99", "127.0.0.1"]
            body = json.dumps(document).encode()
            put = await live.ask("POST", "/$site/registry/put-thing", body, kind)
            assert put.status == 403, put
            assert len(device.asked) == 1


# What who may not describe it finds

CANARY = "c4n4ry"
HIDDEN, HALF = "hidden/vault", "half/lamp"
HIDDEN_ID = "urn:example:hidden-vault"


def hide(site: Gateway) -> None:
    """Register what nobody but administrators may see, and what others may see a half of."""
    site.http("DELETE", path_of(HIDDEN_ID), control=True)
    telling = {
        "title": f"{CANARY} title",
        "description": f"{CANARY} text",
        "@type": f"urn:x:{CANARY}",
        "hilum:place": {"@id": f"urn:x:room-{CANARY}"},
    }
    action = {"output": {"@type": "urn:x:Thing"}, "forms": [{"href": "/x"}]}
    document = named(HIDDEN, **telling, actions={"toggle": action, f"a-{CANARY}": action})
    owner = DirectoryClient(site)
    assert owner.put({**document, "id": HIDDEN_ID}).status == 201
    toggle = {"endpoints": [{"url": "http://127.0.0.1:9/x"}]}
    secret = {"description": CANARY, "types": [f"urn:x:{CANARY}"], **toggle}
    for name, members in ((HALF, {}), ("hidden/box", {})):
        obj = {
            "name": name,
            "methods": {"toggle": toggle, f"m-{CANARY}": secret, **members},
            "channels": {f"c-{CANARY}": {"schema": {"title": CANARY}}},
        }
        if name != HALF:
            obj |= {"types": [f"urn:x:{CANARY}"], "place": f"urn:x:room-{CANARY}"}
        text = CANARY if name != HALF else "half"
        site.register(
            {"microservice": name.title().replace("/", ""), "objects": [obj], "description": text}
        )
    said = {"ep": "hidden", "base": "coap://127.0.0.1:9", "links": f"</{CANARY}>;rt=hidden"}
    assert called(owner, "rd-register", said).status == 200


def onlooker(site: Gateway) -> tuple[DirectoryClient, str]:
    """Return who may see little, and the id of a description of his that came last."""
    bob = registrant(site, "bob")
    site.allow("bob-half", {"principal": "user:bob"}, "describe", f"{HALF} {HALF}/toggle")
    deny = {"effect": "deny", "subjects": [{"principal": "user:bob"}], "actions": ["describe"]}
    spec = {**deny, "names": ["things/**", "endpoints/**"]}
    policy = {"kind": "AccessPolicy", "metadata": {"name": "bob-blind"}, "spec": spec}
    site.apply(json.dumps({"apiVersion": "hilum/v1", **policy}))
    last = named(f"bob/{new_id()[-8:]}")
    assert bob.put(last).status == 201
    return bob, str(last["id"])


@pytest.mark.parametrize(
    ("name", "id_"), [(HIDDEN, HIDDEN_ID), (HALF, f"urn:hilum:localhost/{HALF}")]
)
def test_nothing_that_is_hidden_shows_anywhere(site, name, id_):
    hide(site)
    bob, last = onlooker(site)
    service = "HalfLamp" if name == HALF else "HiddenBox"
    for asked_for, answer in everything_said(bob, name, id_, service, last):
        assert CANARY not in answer, asked_for
    # An administrator finds it by nearly all of these ways.
    told = everything_said(DirectoryClient(site), name, id_, service, last)
    found = [CANARY in answer for asked_for, answer in told if asked_for != "/events"]
    assert sum(found) > len(found) / 2


def test_numbers_and_tags_say_nothing_of_what_is_hidden(site):
    hide(site)
    bob, _ = onlooker(site)

    def numbers():
        count = "/search/sparql?" + urlencode({"query": "SELECT (COUNT(*) AS ?n) { ?s ?p ?o }"})
        page = bob.ask("GET", "/things?format=collection")
        found = bob.ask("GET", "/discover").json()
        jsonpath = bob.ask("GET", "/search/jsonpath?query=$.*.id")
        return (
            page.json()["total"],
            page.fields["Link"],
            bob.ask("GET", count).json()["results"],
            bob.ask("GET", "/search/xpath?query=count(?*)").body,
            [found["items"], found["next"]],
            jsonpath.body,
        )

    before = numbers()
    more = named("hidden/more", title=CANARY)
    assert DirectoryClient(site).put(more).status == 201
    assert numbers() == before
    assert DirectoryClient(site).ask("DELETE", path_of(str(more["id"]))).status == 204
    assert numbers() == before
