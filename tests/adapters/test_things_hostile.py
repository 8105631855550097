"""Thing Descriptions that mean harm, and clients of the directory that do."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conformance.wot.things import (
    PATCH,
    TD_1_1,
    DirectoryClient,
    new_id,
    path_of,
    thing,
)
from tests.running import Gateway

HILUM = {"hilum": "https://w3id.org/hilum#"}


@pytest.fixture
def directory(running_site: Gateway) -> DirectoryClient:
    return DirectoryClient(running_site)


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (b'{"x": "' + b"a" * 10_000_000 + b'"}', 413),
        (b'{"x": ' * 100_000 + b"1" + b"}" * 100_000, 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (b'{"id": NaN}', 400),
        (b'{"id": 1e999999}', 400),
        (json.dumps({"actions": {str(n): {} for n in range(50_000)}}).encode(), 400),
    ],
    ids=["large", "deep objects", "deep arrays", "no UTF-8", "NaN", "endless", "many"],
)
def test_hostile_texts_are_refused_soon(directory, document, status):
    begun = time.monotonic()
    assert directory.ask("PUT", path_of("urn:example:hostile"), document).status == status
    assert time.monotonic() - begun < 5
    assert directory.get("urn:example:hostile").status == 404


def test_contexts_are_never_fetched(directory):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/context.jsonld"
        reply = directory.put(thing(new_id(), **{"@context": [TD_1_1, url]}))
        assert reply.status == 400
        assert reply.json()["validationErrors"][0]["field"].startswith("/@context")
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


@pytest.mark.parametrize(
    "name",
    [
        "hostile/l%61mp",
        "/hostile/lamp",
        "urn:hilum:localhost/hostile/lamp",
        "LOCALHOST/hostile/lamp",
    ],
)
def test_names_that_are_the_same_after_normalisation_collide(directory, name):
    named = {"@context": [TD_1_1, HILUM]}
    directory.put(thing("urn:example:first", **named, **{"hilum:name": "hostile/lamp"}))
    reply = directory.put(thing(new_id(), **named, **{"hilum:name": name}))
    assert reply.status == 409
    assert "described already" in reply.json()["detail"]


@pytest.mark.parametrize(
    "name",
    ["$site/registry", ".well-known/wot", "a/../b", "other.example/x/y", "", "a//b", "localhost"],
)
def test_names_that_are_none_of_a_things_are_refused(directory, name):
    id_ = new_id()
    document = thing(id_, **{"@context": [TD_1_1, HILUM], "hilum:name": name})
    reply = directory.put(document)
    # A name below one of our own is a name like others; it is not that of another site.
    assert reply.status == (201 if name == "other.example/x/y" else 400), reply.body
    assert directory.get(id_).status == (200 if reply.status == 201 else 404)


def test_a_redirect_leads_nowhere(running_site, directory):
    """The site passes it on; it does not go there itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(307)
            self.send_header("Location", f"{running_site.control}/healthz")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        id_ = directory.made(base=f"http://127.0.0.1:{server.server_address[1]}")
        reply = running_site.http("POST", f"/things/{id_}/toggle")
        assert reply.body == b""
        assert reply.status == 307
    finally:
        server.shutdown()
        server.server_close()


def test_wrong_requests_are_told_what_is_wrong(directory):
    id_ = directory.made()
    for path in (
        "/things?limit=x",
        "/things?limit=1&limit=2",
        "/things?offset=-1",
        "/things?limit=-5",
    ):
        assert directory.ask("GET", path).status == 400, path
    assert directory.ask("GET", "/things?offset=1000000").json() == []
    assert directory.get(id_, "?view=raw").status == 400
    assert directory.get(id_, "?view=submitted&x=1").status == 400
    assert directory.ask("PATCH", path_of(id_), "{", PATCH).status == 400
    deep = '{"a":' * 5000 + "1" + "}" * 5000
    assert directory.ask("PATCH", path_of(id_), deep, PATCH).status == 400
    call = directory.site.http("POST", "/$site/registry/things", '{"limt": 3}')
    assert (call.status, "limt" in call.body.decode()) == (422, True)


def test_the_streams_of_one_listener_are_bounded(tmp_path):
    with Gateway(tmp_path) as site:
        directory = DirectoryClient(site)
        others = [
            DirectoryClient(site, site.token_for(f"user:r{n}", "administrator")) for n in range(3)
        ]
        streams = [each.events() for each in (directory, *others) for _ in range(16)]
        try:
            for number, stream in enumerate(streams):
                stream.__enter__()
                if number == 15:
                    refused = directory.ask("GET", "/events")
                    assert (refused.status, "has 16" in refused.json()["detail"]) == (503, True)
            reader = DirectoryClient(site, site.token_for("user:reader", "administrator"))
            refused = reader.ask("GET", "/events")
            assert (refused.status, "64 streams" in refused.json()["detail"]) == (503, True)
            assert refused.fields["Retry-After"]
        finally:
            for stream in streams:
                stream.__exit__(None, None, None)
        end = time.monotonic() + 10
        while directory.ask("HEAD", "/events").status != 200:
            assert time.monotonic() < end
        # A revoked token ends what it has open.
        token = site.token_for("user:reader", "administrator")
        with DirectoryClient(site, token).events() as events:
            site.ask("token/revoke", {"principal": "user:reader"})
            assert events.next().kind == "end"
        assert site.stop() == 0
