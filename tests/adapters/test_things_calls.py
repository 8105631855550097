"""Devices that submitted a plain description are called by the forms of their views."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conformance.wot.things import DirectoryClient, new_id
from tests.running import Gateway, HttpReply

TD_1_1 = "https://www.w3.org/2022/wot/td/v1.1"


class Lamp(BaseHTTPRequestHandler):
    """A device with a password that remembers what it was asked."""

    asked: list[tuple[str, str, str, str | None]]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        type(self).asked.append((self.command, self.path, body, self.headers["authorization"]))
        reply = json.dumps({"level": 7}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def lamp() -> Iterator[tuple[str, list[tuple[str, str, str, str | None]]]]:
    asked: list[tuple[str, str, str, str | None]] = []
    mine = type("Mine", (Lamp,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), mine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def described(id_: str, base: str) -> dict[str, Any]:
    size = {"size": {"type": "string"}}
    return {
        "@context": TD_1_1,
        "id": id_,
        "title": "Lamp",
        "base": f"{base}/lamp/",
        "securityDefinitions": {"login": {"scheme": "basic"}, "none": {"scheme": "nosec"}},
        "security": "login",
        "properties": {
            "level": {"type": "integer", "forms": [{"href": "level"}]},
            "part": {
                "readOnly": True,
                "uriVariables": {"n": {"type": "integer"}, "unit": {"type": "string"}},
                "forms": [{"href": "parts/{n}{?unit}", "security": "none"}],
            },
        },
        "actions": {
            "reset": {"forms": [{"href": "log", "htv:methodName": "DELETE"}]},
            "brew": {
                "uriVariables": size,
                "input": {"type": "object", "properties": {"drink": {"type": "string"}}},
                "forms": [{"href": "brew{?size}"}],
            },
        },
    }


def followed(
    site: Gateway,
    view: dict[str, Any],
    kind: str,
    name: str,
    op: str,
    body: Any = None,
    query: str = "",
) -> HttpReply:
    """Do what the first form of a view says, as a consumer does."""
    form = next(each for each in view[kind][name]["forms"] if op in each["op"])
    path = form["href"].removeprefix(site.url).partition("{")[0] + query
    payload = None if body is None else json.dumps(body)
    return site.http(form["htv:methodName"], path, payload, content_type="application/json")


def test_a_device_is_called_by_its_view(running_site, lamp):
    base, asked = lamp
    directory, id_ = DirectoryClient(running_site), new_id()
    assert directory.put(described(id_, base)).status == 201
    put = ("endpoint-secret", "put", f"things/{id_}", "login", "--user", "ann", "--stdin")
    assert running_site.cli(*put, stdin="geheim\n").returncode == 0
    view = directory.get(id_).json()
    assert base.removeprefix("http://") not in json.dumps(view)

    read = followed(running_site, view, "properties", "level", "readproperty")
    assert (read.status, read.json()) == (200, {"level": 7})
    assert followed(running_site, view, "properties", "level", "writeproperty", 9).status == 200
    part = followed(running_site, view, "properties", "part", "readproperty", query="?n=3&unit=m")
    assert part.status == 200
    assert followed(running_site, view, "actions", "reset", "invokeaction").status == 200
    order = {"size": "l", "drink": "tea"}
    assert followed(running_site, view, "actions", "brew", "invokeaction", order).status == 200
    login = "Basic " + base64.b64encode(b"ann:geheim").decode()
    assert asked == [
        ("GET", "/lamp/level", "", login),
        ("PUT", "/lamp/level", "9", login),
        ("GET", "/lamp/parts/3?unit=m", "", None),
        ("DELETE", "/lamp/log", "", login),
        ("POST", "/lamp/brew?size=l", '{"drink": "tea"}', login),
    ]
    # What does not fit the description never reaches the device.
    assert followed(running_site, view, "properties", "level", "writeproperty", "x").status == 422
    assert len(asked) == 5
