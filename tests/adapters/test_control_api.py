"""The control API over real sockets: it is thin, guarded, and says errors as the data port does."""

import json
import socket
import time
from urllib.parse import quote, urlsplit

import msgspec
import pytest

from adapters.control.operations import OPERATIONS
from tests.running import Gateway, request

V1 = "/api/v1"
POLICY = {
    "apiVersion": "hilum/v1",
    "kind": "AccessPolicy",
    "metadata": {"name": "control-ann"},
    "spec": {
        "effect": "allow",
        "subjects": [{"principal": "user:control"}],
        "actions": ["call"],
        "names": ["control/**"],
    },
}
MANIFEST = {
    "apiVersion": "hilum/v1",
    "microservice": "Control",
    "version": "1.0.0",
    "instance": "a+b",
    "lease": 600,
    "objects": [{"name": "control/room 1", "channels": {"events": {"durable": True}}}],
}
ANSWERS = {operation.id: operation.answer for operation in OPERATIONS}


@pytest.fixture(scope="module")
def api(running_site):
    return Api(running_site)


class Api:
    """Calls operations, and reads their answers as strictly as the OpenAPI document says."""

    def __init__(self, site: Gateway) -> None:
        self.site = site

    def __call__(self, id_, verb, path, document=None, *, answer=None, **more):
        body = None if document is None else json.dumps(document)
        reply = self.site.http(verb, V1 + path, body, control=True, **more)
        assert reply.status == 200, reply.body
        msgspec.json.decode(reply.body, type=answer or ANSWERS[id_], strict=True)
        return reply.json()

    def refused(self, status, verb, path, body=None, **more):
        reply = self.site.http(verb, V1 + path, body, control=True, **more)
        assert reply.status == status, reply.body
        assert reply.fields["Content-Type"] == "application/problem+json"
        problem = reply.json()
        assert problem["status"] == status
        assert problem["type"].startswith("urn:hilum:problem:")
        return problem["detail"]


def test_policies(api):
    preview = {o.id: o.dry_run_answer for o in OPERATIONS}["applyPolicies"]
    path = "/policies?dryRun=true"
    previewed = api("applyPolicies", "POST", path, POLICY, answer=preview)
    assert previewed["changes"][0]["result"] == "created"
    assert api("listPolicies", "GET", "/policies?name=administrators")["items"]
    api.refused(404, "GET", "/policies/AccessPolicy/control-ann")
    assert api("applyPolicies", "POST", "/policies", POLICY)["applied"][0]["revision"] == 1
    got = api("getPolicy", "GET", "/policies/AccessPolicy/control-ann")["items"][0]
    assert got["spec"]["names"] == ["localhost/control/**"]
    question = {"principal": "user:control", "action": "call", "name": "control/x"}
    explained = api("explain", "POST", "/explain", question)
    assert explained["allowed"]
    assert explained["reasons"][0]["policy"] == "AccessPolicy/control-ann"
    api("deletePolicy", "DELETE", "/policies/AccessPolicy/control-ann")
    assert api("getPolicySchema", "GET", "/policy-schema")["$schema"]


def test_a_policy_in_yaml_with_a_mistake_is_told_with_line_and_column(api):
    text = "apiVersion: hilum/v1\nkind: Acces\nmetadata: {name: a}\nspec: {}\n"
    detail = api.refused(422, "POST", "/policies", text, content_type="application/yaml")
    assert "2:7" in detail or "line 2" in detail


def test_registrations_names_and_descriptions(api):
    registered = api("register", "POST", "/registrations", MANIFEST)
    assert registered["id"] == "Control/1.0.0/a+b"
    path = "/registrations/Control/1.0.0/a+b"
    listed = api("listRegistrations", "GET", "/registrations?microservice=Control")["items"]
    assert [(item["instance"], item["live"]) for item in listed] == [("a+b", True)]
    first = api("listRegistrations", "GET", "/registrations?limit=1")
    assert first["next"]
    after = api("listRegistrations", "GET", f"/registrations?after={quote(first['next'])}")
    assert first["items"][0] not in after["items"]
    assert first["items"] or after["items"]
    assert api("renewRegistration", "POST", path + "/renew")["lease"] == 600
    names = api("listNames", "GET", "/names?prefix=control&kind=object&limit=5")["items"]
    assert [item["name"] for item in names] == ["localhost/control/room%201"]
    described = api("describe", "GET", f"/describe/{names[0]['name']}")
    assert described["name"] == names[0]["name"]
    site = api.site
    event = json.loads(site.client().call("control/room%201/events", b'{"n": 1}').body)["id"]
    events = api("readHistory", "GET", f"/history/control/room%201/events?after={event[:-1]}0")
    assert [item["payload"] for item in events["items"]] == ['{"n": 1}']
    api("deregister", "DELETE", path)
    api.refused(404, "DELETE", path)


def test_tokens(api):
    asked = {"principal": "service:control", "ttl": 60}
    issued = api("issueToken", "POST", "/tokens", asked)
    assert api.refused(403, "GET", "/tokens", token=issued["token"])
    listed = api("listTokens", "GET", "/tokens")["items"]
    assert issued["id"] in [item["id"] for item in listed]
    assert issued["token"] not in json.dumps(listed)
    assert api("revokeToken", "DELETE", f"/tokens/{issued['id']}")["revoked"] == [issued["id"]]
    api.refused(401, "GET", "/tokens", token=issued["token"])
    api("issueToken", "POST", "/tokens", asked)
    assert len(api("revokeTokens", "DELETE", "/tokens?principal=service:control")["revoked"]) == 1


def test_dead_letters(api):
    assert api("listDeadLetters", "GET", "/deadletters?limit=5")["items"] == []
    assert "17" in api.refused(404, "POST", "/deadletters/17/redrive")
    assert "17" in api.refused(404, "DELETE", "/deadletters/17")


@pytest.mark.parametrize(
    ("verb", "path", "status", "said"),
    [
        ("GET", "/nothing", 404, "/openapi.json"),
        ("PUT", "/policies", 405, "/openapi.json"),
        ("GET", "/names?limit=many", 400, "limit"),
        ("GET", "/names?colour=red", 400, "colour"),
        ("GET", "/policies/AccessPolicy/a?name=b", 400, "in the path already"),
        ("POST", "/policies?dryRun=perhaps", 400, "dryRun"),
        ("POST", "/policies?dry=true", 400, "'dry'"),
        ("GET", "/describe/a%2Fb", 400, "segment"),
        ("POST", "/deadletters/x/redrive", 400, "id"),
        ("GET", "/policies/AccessPolicy/none", 404, "none"),
    ],
)
def test_what_cannot_be_asked_is_told(api, verb, path, status, said):
    assert said in api.refused(status, verb, path)


def test_errors_are_the_same_as_on_the_data_listener(api, running_site):
    on_control = running_site.http("GET", V1 + "/tokens", control=True, token="")
    on_data = running_site.http("POST", "/$site/token/list", token="")
    assert on_control.status == on_data.status == 401
    assert on_control.json() == on_data.json()
    assert on_control.fields["WWW-Authenticate"] == on_data.fields["WWW-Authenticate"]


def test_a_call_is_decided_by_policy_as_any_other(api, running_site):
    token = running_site.token_for("service:control-weak")
    assert "service:control-weak" in api.refused(403, "GET", "/policies", token=token)
    who = {"principal": "service:control-weak"}
    running_site.allow("control-weak", who, "call", "$site/policy/get")
    assert api("listPolicies", "GET", "/policies", token=token)["items"]
    api.refused(403, "DELETE", "/policies/AccessPolicy/control-weak", token=token)


@pytest.mark.parametrize("token", ["hlm_wrong", "x" * 5000])
def test_a_token_that_is_not_valid_is_refused(api, token):
    assert "no bearer token that is valid" in api.refused(401, "GET", "/names", token=token)


def test_a_body_that_is_too_large_is_refused(api):
    api.refused(413, "POST", "/policies", b" " * (1024 * 1024 + 1))


def test_every_answer_has_the_security_headers(running_site):
    for path in ("/", "/healthz", V1 + "/names", "/nothing"):
        fields = running_site.http("GET", path, control=True).fields
        assert fields["X-Content-Type-Options"] == "nosniff"
        assert fields["Cache-Control"] == "no-store"
        assert "default-src 'none'" in fields["Content-Security-Policy"]
        assert "Server" not in fields


def test_only_what_says_nothing_of_the_site_needs_no_token(running_site):
    for path in ("/healthz", "/readyz", "/", "/openapi.json", "/metrics"):
        reply = running_site.http("GET", path, control=True, token="")
        assert reply.status == 200, path
    home = running_site.http("GET", "/", control=True, token="").body.decode()
    for path in ("/openapi.json", "/healthz", "/readyz", "/metrics"):
        assert f'href="{path}"' in home
    assert running_site.control in home


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8081", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8081", 200),
        ("10.1.2.3", 200),
        ("attacker.example", 421),
        ("attacker.example:8081", 421),
        ("localhost.attacker.example", 421),
        ("", 421),
    ],
)
def test_names_of_other_hosts_are_refused(running_site, host, status):
    reply = request(running_site.control, "GET", "/healthz", headers={"Host": host})
    assert reply.status == status


def test_a_site_that_cannot_write_is_not_ready(tmp_path):
    with Gateway(tmp_path) as site:
        assert site.http("GET", "/readyz", control=True).body == b"ready\n"
        moved = site.state.rename(tmp_path / "moved")
        deadline = time.monotonic() + 10
        while site.http("GET", "/readyz", control=True).status == 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        reply = site.http("GET", "/readyz", control=True)
        assert reply.status == 503
        assert b"cannot be written" in reply.body
        assert site.http("GET", "/healthz", control=True).status == 200
        moved.rename(site.state)


def test_where_other_machines_reach_it_metrics_need_a_token(tmp_path):
    config = "[control]\ninsecure = true\n"
    with Gateway(tmp_path, config=config, control="0.0.0.0:0") as site:
        site.control = site.control.replace("0.0.0.0", "127.0.0.1")
        assert site.http("GET", "/metrics", control=True, token="").status == 401
        assert site.http("GET", "/metrics", control=True).status == 200
        token = site.token_for("service:prometheus")
        assert site.http("GET", "/metrics", control=True, token=token).status == 403
        site.allow("scrape", {"principal": "service:prometheus"}, "describe", "$site/metrics")
        assert site.http("GET", "/metrics", control=True, token=token).status == 200


def test_a_client_that_vanishes_in_its_request_does_no_harm(running_site):
    before = running_site.logged()
    address = urlsplit(running_site.control)
    with socket.create_connection((address.hostname, address.port)) as client:
        head = f"POST {V1}/policies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
        client.sendall(head.encode() + b"{")
    assert running_site.http("GET", "/healthz", control=True).status == 200
    assert running_site.logged() == before


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: localhost\r\n" + "X: " + "y" * 1_000_000,
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        "NONSENSE\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(running_site, head):
    address = urlsplit(running_site.control)
    with socket.create_connection((address.hostname, address.port), timeout=10) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 4")


def test_names_are_taken_as_they_stand_in_the_path(api):
    name = quote("ä b", safe="")
    detail = api.refused(404, "GET", f"/describe/{name}")
    assert "ä b" in detail or name in detail
