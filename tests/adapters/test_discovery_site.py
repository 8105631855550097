"""Discovery at a running site: by HTTP, by the command line, and what it observes itself."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlencode

import pytest

from tests.running import Gateway

SENSOR = "urn:example:discovery#Sensor"


def get(site: Gateway, token: str | None = None, **asked: object):
    path = f"/discover?{urlencode(asked)}"
    return site.http("GET", path, token=token, control=True)


def manifest(name: str, url: str = "http://127.0.0.1:9/") -> dict[str, object]:
    method = {
        "safe": True,
        "endpoints": [{"url": url, "method": "GET"}],
        "types": [SENSOR],
        "profile": {"outputs": {"value": SENSOR}, "level": {"latency": 1000}},
    }
    place = "urn:example:discovery#room"
    objects = [{"name": name, "place": place, "methods": {"read": method}}]
    return {"microservice": name.replace("/", "-"), "objects": objects}


@pytest.fixture(scope="module")
def sensors(running_site: Gateway) -> list[str]:
    names = [f"discovery/{letter}" for letter in "abc"]
    for name in names:
        running_site.register(manifest(name))
    return names


def names(reply) -> list[str]:
    assert reply.status == 200, reply.body
    return [item["name"].partition("/")[2] for item in reply.json()["items"]]


def test_what_is_registered_is_found_by_http(running_site, sensors) -> None:
    assert names(get(running_site, type=SENSOR)) == sensors
    first = get(running_site, type=SENSOR, limit=2).json()
    second = get(running_site, type=SENSOR, limit=2, cursor=first["next"])
    assert names(second) == sensors[2:]
    assert names(get(running_site, place="urn:example:discovery#room", protocol="http")) == sensors
    # The same on the data listener, as a Call.
    answer = running_site.ask("registry/discover", {"type": SENSOR})
    assert len(answer["items"]) == 3
    assert get(running_site, token="", type=SENSOR).status in (401, 403)
    for wrong in (
        "type=a&type=b",
        "typ=a",
        "limit=0",
        "maxLatencyMs=soon",
        "type=nothing",
        "a=%ff",
    ):
        reply = running_site.http("GET", f"/discover?{wrong}", control=True)
        assert reply.status == 400, wrong
        assert reply.fields["content-type"] == "application/problem+json"


def test_only_what_a_caller_may_describe_is_found(running_site, sensors) -> None:
    who = {"principal": "user:finder"}
    running_site.allow("finder-asks", who, "call", "$site/registry/discover")
    running_site.allow("finder-sees", who, "describe", "discovery/b/**")
    token = running_site.token_for("user:finder", "user")
    assert names(get(running_site, token, type=SENSOR)) == ["discovery/b"]
    assert names(get(running_site, token, type=SENSOR, limit=1)) == ["discovery/b"]


def test_services_are_matched_by_http(running_site, sensors) -> None:
    asked = {"outputs": {"v": SENSOR}, "maxLatencyMs": 1000}
    reply = running_site.http("POST", "/match", json.dumps(asked), control=True)
    assert reply.status == 200, reply.body
    assert [i["degree"] for i in reply.json()["items"]] == ["exact"] * 3
    bad = running_site.http("POST", "/match", '{"outputs": 3}', control=True)
    assert bad.status in (400, 422)


def test_the_command_shows_members_and_helps(running_site, sensors) -> None:
    shown = running_site.cli("discover", "--type", SENSOR, "--limit", "2")
    assert shown.returncode == 0, shown.stderr
    assert "discovery/a/read" in shown.stdout
    assert "1000 ms declared" in shown.stdout
    assert "discovery/c" not in shown.stdout
    whole = running_site.cli("discover", "--type", SENSOR, "--output", "json")
    assert len(json.loads(whole.stdout)["items"]) == 3
    wrong = running_site.cli("discover", "--type", "Virtual objekt")
    assert wrong.returncode != 0
    assert "virtual object" in wrong.stderr
    assert (
        "no loaded ontology" in running_site.cli("discover", "--type", "urn:nothing:at-all").stderr
    )


def test_what_was_observed_is_what_counts(running_site) -> None:
    class Provider(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        running_site.register(manifest("quick/one", f"http://127.0.0.1:{server.server_port}/"))
        asked = {"type": SENSOR, "maxLatencyMs": 900}
        assert names(get(running_site, **asked)) == []
        for _ in range(20):
            running_site.client().call("quick/one/read")
        (item,) = get(running_site, **asked).json()["items"]
        latency = item["members"][0]["latency"]
        assert (latency["source"], latency["calls"]) == ("observed", 20)
        assert latency["ms"] < 900
    finally:
        server.shutdown()
        server.server_close()
