"""The registry under load that means harm: others' calls and searches go on, memory stays bounded.

One site of its own for all. Times are generous: other tests may use the processors too.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit

import pytest

from adapters.control.things.events import STREAMS_EACH
from tests.conformance.wot.things import PATCH, DirectoryClient, path_of
from tests.running import Gateway, HttpReply, Service
from tests.site.registry import CONFIG, CONTEXT, Trap, named, registrant
from tests.site.test_enemy import memory

WAIT = 1.0
"""Seconds that a call of somebody else may take at most beside an attack."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    config = CONFIG + "[search]\nseconds = 1.0\n"
    with Gateway(tmp_path_factory.mktemp("siege"), config=config) as running, Service() as service:
        methods = {"m": {"endpoints": [{"url": service.url}]}}
        objects = [{"name": "good", "types": ["urn:x:Good"], "methods": methods}]
        running.register({"microservice": "Good", "objects": objects})
        yield running


@contextlib.contextmanager
def others_go_on(site: Gateway, more: int = 200) -> Iterator[None]:
    """Fail if somebody else's calls and discoveries are slow or refused meanwhile.

    Also fail if the site has ``more`` MB of memory than before.
    """
    took: list[float] = []
    wrong: list[object] = []
    over = threading.Event()
    before = memory(site)

    def watch() -> None:
        while True:
            for verb, path, control in (("POST", "/good/m", False), ("GET", DISCOVER, True)):
                begun = time.monotonic()
                reply = site.http(verb, path, b"1" if verb == "POST" else None, control=control)
                took.append(time.monotonic() - begun)
                if reply.status != 200:
                    wrong.append(reply)
            if over.wait(0.01):
                break

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        try:
            yield
        finally:
            over.set()
        watching.result()
    assert wrong == []
    assert max(took) < WAIT
    assert memory(site) - before < more


DISCOVER = "/discover?type=urn:x:Good"


def crowd(ask: Callable[[int], HttpReply], count: int, at_once: int = 16) -> list[int]:
    """Ask many times at once; return the statuses."""
    with ThreadPoolExecutor(at_once) as pool:
        return [reply.status for reply in pool.map(ask, range(count))]


# Documents

BIG = 1_000_000
REGEX = "(a+)+$"


def nested(depth: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"x": schema}}
    return schema


def large(number: int) -> dict[str, object]:
    """Return the parts of a description that is as large as it may be, in one way each."""
    form = {"forms": [{"href": "/x"}]}
    word = "w" * 60
    match number % 7:
        case 0:
            return {"title": "x" * (BIG - 2000)}
        case 1:
            return {"actions": {f"a{i}": form for i in range(4000)}}
        case 2:
            return {"actions": {"toggle": {**form, "input": nested(40)}}}
        case 3:
            return {"actions": {"toggle": {**form, "input": {"type": "string", "pattern": REGEX}}}}
        case 4:
            return {"@type": [f"urn:x:{word}{i}" for i in range(9000)]}
        case 5:
            return {"links": [{"href": f"http://{word}{i}.example/"} for i in range(8000)]}
        case _:
            return {f"x{i}": [[[[{}]]]] for i in range(30_000)}


def test_documents_that_mean_harm_make_nobody_wait(site):
    mallory = registrant(site, "mallory")
    with others_go_on(site):
        refused = mallory.ask("PUT", path_of("urn:x:big"), b'{"x": "' + b"a" * 10_000_000 + b'"}')
        assert refused.status == 413
        for depth in (60, 5000):
            deep = b'{"a":' * depth + b"1" + b"}" * depth
            assert mallory.ask("PUT", path_of("urn:x:deep"), deep).status == 400
        for number in range(7):
            document = named(f"mallory/big{number}", **large(number))
            reply = mallory.put(document)
            assert reply.status in (201, 400, 413)
            if reply.status == 201:
                for patch in ({"title": "y"}, {f"p{i}": i for i in range(20_000)}, {"@type": None}):
                    path = path_of(str(document["id"]))
                    assert mallory.ask("PATCH", path, patch, PATCH).status in (204, 400, 413)
                for page in ("/things?limit=1000", path_of(str(document["id"]))):
                    assert mallory.ask("GET", page).status == 200
                assert mallory.ask("DELETE", path_of(str(document["id"]))).status == 204


# Searches

BOMBS = [
    "/search/sparql?query=" + quote("SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i }"),
    "/search/sparql?query=" + quote("SELECT * { ?a (!<urn:x>|^!<urn:x>)* ?b . ?b (!<urn:y>)* ?c }"),
    "/search/jsonpath?query=" + quote("$[?search(@.title, '(a*)*(a*)*$')]..*"),
    "/search/xpath?query=" + quote("count((1 to 100000000)[. mod 7 = 3])"),
]


def test_hundreds_of_searches_of_one_leave_the_others_theirs(site):
    mallory = registrant(site, "mallory")
    with others_go_on(site, 600), ThreadPoolExecutor(64) as pool:
        bombs = [pool.submit(mallory.ask, "GET", BOMBS[i % 4]) for i in range(200)]
        lists = [pool.submit(mallory.ask, "GET", "/things?limit=1000") for _ in range(100)]
        pages = [f"/search/jsonpath?query={quote(f'$[?@.x{i}]')}" for i in range(100)]
        columns = [pool.submit(mallory.ask, "GET", page) for page in pages]
        statuses = {each.result().status for each in (*bombs, *lists, *columns)}
    assert statuses <= {200, 400, 422, 429, 503, 504}


def test_a_thousand_followers_leave_others_theirs(site):
    mallory = registrant(site, "mallory")
    netloc = urlsplit(site.control)
    lines = f"Host: {netloc.netloc}", f"Authorization: Bearer {mallory.token}", "", ""
    head = "\r\n".join(("GET /events HTTP/1.1", *lines)).encode()
    sockets = []
    try:
        with others_go_on(site):
            for _ in range(1000):
                sockets.append(socket.create_connection((netloc.hostname, netloc.port), 10))
                with contextlib.suppress(ConnectionError):
                    sockets[-1].sendall(head)
            answers = [answer_of(each) for each in sockets]
            assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == STREAMS_EACH
            document = named("good/told")
            with DirectoryClient(site).events() as events:
                assert DirectoryClient(site).put(document).status == 201
                assert events.next(str(document["id"])).kind == "thing_created"
    finally:
        for each in sockets:
            each.close()


def answer_of(client: socket.socket) -> bytes:
    """Return what a client is told; nothing where its place was given to another."""
    try:
        return client.recv(4096)
    except ConnectionError:
        return b""


# Contexts

LEADS = [
    "{trap}/c.jsonld",
    "http://169.254.169.254/c",
    "file:///etc/passwd",
    "//127.0.0.1/c",
    "c.jsonld",
]


@pytest.mark.parametrize("unknown", [False, True])
def test_nothing_is_fetched_whatever_a_description_or_a_query_names(tmp_path, unknown):
    config = CONFIG + ("unknown_contexts = true\n" if unknown else "")
    with Gateway(tmp_path, config=config) as site, Trap() as trap:
        mallory = registrant(site, "mallory")
        for number, lead in enumerate(LEADS):
            url = lead.format(trap=trap.url)
            inner = {"ex": "https://example.org/#", "ex:t": {"@id": "ex:t", "@context": url}}
            contexts: dict[str, object] = {
                "whole": [*CONTEXT, url],
                "imported": [*CONTEXT, {"@version": 1.1, "@import": url}],
                "scoped": [*CONTEXT, inner],
                "plain": CONTEXT,
            }
            for key, context in contexts.items():
                within = {"ex:t": {"@context": url, "@id": url}, "schema": {"$ref": url}}
                more = {"@context": context, **(within if key != "whole" else {})}
                document = named(
                    f"mallory/{key}{number}", links=[{"href": url, "rel": "x"}], **more
                )
                assert mallory.put(document).status in (201, 400), (url, key)
        for query in (
            f"SELECT * FROM <{trap.url}/> {{ ?s ?p ?o }}",
            f"SELECT * {{ SERVICE SILENT <{trap.url}/> {{ ?s ?p ?o }} }}",
            f"SELECT * {{ {{ SELECT * {{ SERVICE <{trap.url}/> {{ ?s ?p ?o }} }} }} }}",
            f"LOAD <{trap.url}/>",
        ):
            mallory.ask("GET", "/search/sparql?query=" + quote(query))
            graphs = f"&default-graph-uri={quote(trap.url)}"
            mallory.ask("GET", "/search/sparql?query=" + quote("ASK {}") + graphs)
        for call in ("doc", "json-doc", "unparsed-text", "collection", "uri-collection"):
            for url in (trap.url, "file:///etc/passwd", "/etc/passwd"):
                reply = mallory.ask("GET", "/search/xpath?query=" + quote(f"{call}('{url}')"))
                assert b"root:" not in reply.body
        environment = mallory.ask("GET", "/search/xpath?query=environment-variable('PATH')")
        assert b"bin" not in environment.body
        time.sleep(1.2 if unknown else 0.2)  # reading other vocabularies follows after a moment
        assert trap.asked == []
