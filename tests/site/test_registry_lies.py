"""What descriptions say: secrets, markup, and lies about themselves, their neighbours and classes.

One site of its own for all; each attack has names of its own there.
"""

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from tests.adapters.test_endpoint_secrets import BEARER
from tests.conformance.sparql.asking import sparql
from tests.conformance.wot.things import DirectoryClient, path_of
from tests.running import Gateway
from tests.site.registry import CONFIG, CONTEXT, Trap, eventually, named, registrant
from tests.site.registry_sweep import called, everything_said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("lies"), config=CONFIG) as running:
        yield running


# Secrets

SECRET = "hunter2-hunter2"
BASIC = {"scheme": "basic", "in": "header", "password": SECRET, "hilum:password": SECRET}
HEADER = {"htv:fieldName": "Authorization", "htv:fieldValue": f"Bearer {SECRET}"}
TELLING = {
    "user": {"base": f"http://u:{SECRET}@127.0.0.1:9"},
    "query": {"base": f"http://127.0.0.1:9/?access_token={SECRET}"},
    "definition": {"securityDefinitions": {"s": BASIC}, "security": "s"},
    "key": {
        "securityDefinitions": {
            "s": {"scheme": "apikey", "in": "query", "name": "k", "key": SECRET}
        },
        "security": "s",
    },
    "header": {"actions": {"toggle": {"forms": [{"href": "/x", "htv:headers": [HEADER]}]}}},
    "form": {"forms": [{"href": f"http://127.0.0.1:9/{SECRET}", "op": "readallproperties"}]},
    "link": {"links": [{"rel": "x", "href": f"http://127.0.0.1:9/?key={SECRET}"}]},
}


@pytest.mark.parametrize("where", TELLING)
def test_credentials_in_a_description_reach_nobody(site, where):
    ann, bob = registrant(site, "secretive"), registrant(site, "curious")
    site.allow("curious-sees", {"principal": "user:curious"}, "describe call", "secretive/**")
    document = named(f"secretive/{where}", **TELLING[where])
    refused = ann.put(document).status == 400
    last = named(f"curious/last-{where}")
    assert bob.put(last).status == 201
    name, id_ = f"secretive/{where}", str(document["id"])
    for asked, answer in everything_said(bob, name, id_, "Lamp", str(last["id"])):
        assert SECRET not in answer, asked
    if not refused:
        assert ann.get(id_, "?view=submitted").json() == document
        bob.site.http("POST", f"/{name}/toggle", token=bob.token)
    assert SECRET not in site.logged()
    if not refused:
        eventually(lambda: name.encode() in audit_of(site))
    assert SECRET.encode() not in audit_of(site)


def audit_of(site: Gateway) -> bytes:
    return b"".join(file.read_bytes() for file in (site.state / "audit").glob("*"))


def test_a_secret_goes_to_nobody_who_names_it(site):
    victim, thief = registrant(site, "victim"), registrant(site, "thief")
    with Trap() as device, Trap() as trap:
        secured = {"securityDefinitions": {"sc": {"scheme": "bearer"}}, "security": "sc"}
        assert victim.put(named("victim/lamp", device.url, **secured)).status == 201
        kept = {"name": "victim/lamp", "security": "sc", "secret": BEARER}
        assert called(victim, "secret-put", kept).status == 200
        assert called(thief, "secret-put", kept).status in (403, 409)
        # Also one who may put endpoints of his own beside those of the victim gets none of it.
        site.allow("thief-too", {"principal": "user:thief"}, "bind register", "victim/**")
        for number, word in enumerate(
            ("sc", "localhost/victim/lamp#sc", "victim/lamp#sc", "../lamp#sc")
        ):
            definitions = {word: {"scheme": "bearer"}}
            stolen = {"securityDefinitions": definitions, "security": word}
            name = f"thief/lamp{number}"
            assert thief.put(named(name, trap.url, **stolen)).status in (201, 400)
            endpoint = {"url": trap.url, "security": word}
            for own in (f"thief/plain{number}", "victim/lamp"):
                objects = [{"name": own, "methods": {"toggle": {"endpoints": [endpoint]}}}]
                manifest = {"microservice": "Thief", "instance": f"i{number}", "objects": objects}
                document = {"apiVersion": "hilum/v1", "version": "1", "lease": 60, **manifest}
                assert called(thief, "register", document).status in (200, 409, 422)
            for each in (name, f"thief/plain{number}", *["victim/lamp"] * 4):
                site.http("POST", f"/{each}/toggle")
        assert trap.asked
        assert BEARER["token"] not in str(trap.asked)
        assert f"Bearer {BEARER['token']}" in str(device.asked)


# Markup

MARKUP = "\"'></textarea><script>alert(1)</script><img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """Notes what a browser would run, load or follow."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "base", "link"):
            self.found.append(tag)
        for name, value in attributes:
            leads = name in ("href", "src", "action", "style", "formaction", "xlink:href")
            if name.startswith("on") or (leads and "script:" in (value or "").lower()):
                self.found.append(f"{name}={value}")


def test_what_services_write_is_text_on_every_page(site):
    mallory = registrant(site, "markup")
    evil = "java\tscript:alert(1)"
    forms = {"forms": [{"href": "/x"}], "description": MARKUP, "title": MARKUP}
    schema = {"type": "object", "properties": {MARKUP: {"unit": MARKUP, "enum": [MARKUP]}}}
    document = named(
        "markup/page",
        title=MARKUP,
        description=MARKUP,
        actions={"toggle": {**forms, "input": schema, "@type": "javascript:alert(1)"}},
        links=[{"href": "javascript:alert(1)", "rel": "icon"}],
        support="javascript:alert(1)",
    )
    assert mallory.put(document).status == 201
    methods = {"m": {"description": MARKUP, "input": schema, "types": ["javascript:alert(1)"]}}
    obj = {"name": "markup/object", "description": MARKUP, "methods": methods}
    manifest = {"microservice": "Markup", "description": MARKUP, "objects": [obj]}
    site.register(manifest, mallory.token)
    label = (
        f"<urn:x:a> rdfs:label {json.dumps(MARKUP)} ; rdfs:seeAlso <{evil[:4]}script:alert(1)> ."
    )
    text = "@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n" + label
    loaded = called(DirectoryClient(site), "ontology-load", {"name": "markup", "text": text})
    assert loaded.status == 200, loaded.body
    pages = [
        *("/markup/page", "/markup/object", "/Markup/introspect", "/Lamp/introspect"),
        *("control/services/Markup", "control/services/Lamp", "control/ontology", "control/"),
    ]
    unknown = f"control/services/{quote(MARKUP, safe='')}"
    for page in [*pages, unknown]:
        control, path = page.startswith("control"), page.removeprefix("control")
        reply = site.http("GET", path, accept="text/html", control=control)
        assert reply.status == (404 if page == unknown else 200), page
        assert reply.fields["content-type"].startswith("text/html"), page
        assert Page(reply.body.decode()).found == [], page
        policy = reply.fields["content-security-policy"]
        assert "default-src 'none'" in policy, page
        assert "script-src" not in policy, page
        assert reply.fields["x-content-type-options"] == "nosniff", page


def test_no_answer_of_the_registry_is_taken_for_a_page(site):
    client = registrant(site, "markup")
    query = quote(f"SELECT ('{MARKUP.replace(chr(39), '')}' AS ?x) {{}}")
    for path in (
        path_of(MARKUP),
        f"/things?sort_by={quote(MARKUP)}",
        f"/things?limit=1&offset=0&format={quote(MARKUP)}",
        f"/search/sparql?query={query}",
        f"/search/jsonpath?query={quote(MARKUP)}",
        f"/search/xpath?query={query}",
        f"/discover?type={quote(MARKUP)}",
        f"/events/{quote(MARKUP)}",
        f"/ontology/{quote(MARKUP, safe='')}.ttl",
    ):
        reply = client.ask("GET", path, accept="text/html, application/xhtml+xml, image/svg+xml")
        kind = reply.fields["content-type"] or ""
        assert not any(each in kind for each in ("html", "svg")), (path, kind)
        assert reply.fields["x-content-type-options"] == "nosniff", path
        assert MARKUP not in str(reply.fields), path


@pytest.mark.parametrize("id_", ["urn:x:a\r\nSet-Cookie: a=b", "urn:x:a\u2028b", 'urn:x:"><b'])
def test_an_id_never_becomes_a_line_of_a_head(site, id_):
    client = registrant(site, "markup")
    document = {**named("markup/id"), "id": id_}
    reply = client.put(document)
    assert reply.fields["set-cookie"] is None
    if reply.status == 201:
        for page in ("/things", path_of(id_)):
            assert client.ask("GET", page).fields["set-cookie"] is None
        client.ask("DELETE", path_of(id_))
    else:
        assert reply.status in (400, 404)


# Lies

MODEL = """
@prefix hilum: <https://w3id.org/hilum#> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
<urn:x:Lobby> rdfs:subClassOf <urn:x:Public> .
<urn:x:hall> hilum:partOf <urn:x:open> .
"""
DOOR = "urn:hilum:localhost/estate/door"
PUBLIC = "object.types contains 'urn:x:Public' or object.places contains 'urn:x:open'"
WORDS = {
    "ex": "https://example.org/#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
}
OF_DOOR = {"@id": DOOR, "@type": "urn:x:Public", "hilum:place": {"@id": "urn:x:hall"}}
OF_CLASS = {"@id": "urn:x:Vault", "rdfs:subClassOf": {"@id": "urn:x:Public"}}
OF_PLACE = {"@id": "urn:x:cellar", "hilum:partOf": {"@id": "urn:x:open"}}
LIES = {
    "itself": {"@type": "urn:x:Lobby", "hilum:place": {"@id": "urn:x:hall"}},
    "a neighbour": {"ex:near": OF_DOOR},
    "a class": {"ex:of": OF_CLASS, "@type": "urn:x:Vault"},
    "a place": {"ex:at": OF_PLACE, "hilum:place": {"@id": "urn:x:cellar"}},
    "included": {"@included": [OF_DOOR, OF_CLASS, OF_PLACE]},
    "in a graph": {"ex:graph": {"@graph": [OF_DOOR, OF_CLASS, OF_PLACE]}},
    "in reverse": {"@reverse": {"owl:sameAs": OF_DOOR, "rdfs:subClassOf": OF_CLASS}},
    "the same as": {"owl:sameAs": OF_DOOR, "@type": "urn:x:Vault"},
    "as its id": {"id": DOOR, "@type": "urn:x:Lobby"},
    "as its second id": {"@id": DOOR, "@type": "urn:x:Lobby"},
    "by its name": {"hilum:name": "estate/door", "@type": "urn:x:Lobby"},
}


@pytest.fixture
def estate(site: Gateway) -> DirectoryClient:
    """An estate with a door, open to those doors alone that are public, and its owner."""
    squire = registrant(site, "estate")
    loaded = called(DirectoryClient(site), "ontology-load", {"name": "estate", "text": MODEL})
    assert loaded.status == 200, loaded.body
    door = {"name": "estate/door", "types": ["urn:x:Vault"], "place": "urn:x:cellar"}
    methods = {"toggle": {"endpoints": [{"url": "http://127.0.0.1:9/"}]}}
    site.register({"microservice": "Door", "objects": [{**door, "methods": methods}]}, squire.token)
    site.apply(policy("AccessPolicy", "public", CALLS | {"when": PUBLIC}))
    return squire


CALLS = {
    "effect": "allow",
    "subjects": [{"principal": "user:ann"}],
    "actions": ["call"],
    "names": ["**"],
}
ALL = {"names": ["**"], "attributes": ["type", "place"], "subjects": [{"principal": "user:liar"}]}


def policy(kind: str, name: str, spec: dict[str, object]) -> str:
    metadata = {"name": name}
    return json.dumps({"apiVersion": "hilum/v1", "kind": kind, "metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    "id_", [DOOR, "urn:hilum:estate/door", "urn:hilum:localhost/estate/d%6For"]
)
def test_nobody_takes_the_id_of_another_object(site, estate, id_):
    liar, admin = registrant(site, "liar"), DirectoryClient(site)
    for name in ("liar/door", "liar/other"):
        assert liar.put({**named(name, title="Lie"), "id": id_}).status in (400, 403)
    assert liar.ask("DELETE", path_of(DOOR)).status in (403, 404, 409)
    assert admin.get(DOOR).json()["hilum:name"] == "localhost/estate/door"
    own = {**named("liar/own"), "id": "urn:hilum:localhost/liar/own"}
    assert liar.put(own).status == 201
    assert liar.ask("DELETE", path_of(own["id"])).status == 204


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_opens_no_door(site, estate, lie):
    liar, ann = registrant(site, "liar"), site.token_for("user:ann", "user")
    context = [*CONTEXT[:1], {**CONTEXT[1], **WORDS}]
    marker = f"read {lie}"
    document = named("liar/door", **{"@context": context, "ex:marker": marker, **LIES[lie]})
    taken = liar.put(document).status == 201
    if taken:
        ask = f'ASK {{ ?s ?p "{marker}" }}'
        eventually(lambda: sparql(liar, ask).json()["boolean"])
    for name in ("estate/door", *(["liar/door"] if taken else [])):
        assert site.http("POST", f"/{name}/toggle", token=ann).status == 403, name
    admin = DirectoryClient(site)
    for pattern in (
        f"<{DOOR}> a <urn:x:Public>",
        f"<{DOOR}> hilum:place <urn:x:hall>",
        "<urn:x:Vault> rdfs:subClassOf <urn:x:Public>",
        "<urn:x:cellar> hilum:partOf <urn:x:open>",
    ):
        for shape in ("{ %s }", "{ GRAPH ?g { %s } }"):
            found = sparql(admin, f"ASK {shape % pattern}").json()["boolean"]
            assert found is False, (lie, pattern)
    liar.ask("DELETE", path_of(str(document["id"])))


def test_only_who_is_let_asserts_and_only_of_his_own_names(site, estate):
    liar, ann = registrant(site, "liar"), site.token_for("user:ann", "user")
    asserted = policy("Assertion", "liar", ALL)
    kind = "application/json"
    path = "/$site/policy/apply"
    refused = site.http("POST", path, asserted, token=liar.token, content_type=kind)
    assert refused.status == 403
    # Who may say of his own names what he likes says nothing of others' by offering them too.
    site.apply(policy("Assertion", "liar", {**ALL, "names": ["liar/**"]}))
    site.allow("liar-too", {"principal": "user:liar"}, "bind register", "estate/**")
    obj = {"name": "estate/door", "types": ["urn:x:Lobby"], "place": "urn:x:hall"}
    site.register({"microservice": "Liar", "objects": [obj]}, liar.token)
    assert site.http("POST", "/estate/door/toggle", token=ann).status == 403
    objects = [{**obj, "name": "liar/gate", "methods": {"toggle": {}}}]
    site.register({"microservice": "Liar", "instance": "gate", "objects": objects}, liar.token)
    assert (
        site.http("POST", "/liar/gate/toggle", token=ann).status == 503
    )  # let in: nobody is there
    said = {"ep": "liar", "base": "coap://127.0.0.1:9", "links": '</toggle>;rt="urn:x:Lobby"'}
    assert called(liar, "rd-register", said).status == 200
    assert site.http("POST", "/endpoints/liar/toggle", token=ann).status == 403
