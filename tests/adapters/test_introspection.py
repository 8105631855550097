"""Descriptions of a running site, negotiated over each protocol, and as a page in a browser."""

import html
import json
import os
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from registry.index.rdf import parsed
from registry.renderings.formats import FORMATS, TYPES
from tests.oidc.browser import running_browser
from tests.running import Gateway, Service
from tests.support import require_program

MANIFEST = {
    "microservice": "Thermo",
    "deployment": "edge",
    "description": "Warmth <b>of rooms</b>.",
    "objects": [
        {
            "name": "thermo",
            "types": ["brick:Thermostat"],
            "methods": {
                "read": {"safe": True, "output": {"type": "number"}},
                "secret": {"description": "only for some"},
            },
            "channels": {"warmth": {"schema": {"type": "number"}, "types": ["sosa:Observation"]}},
        },
        {"name": "thermo-two", "channels": {"warmth": {}}},
    ],
}


class Answer(NamedTuple):
    status: int
    fields: Any
    body: bytes


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service() as running:
        yield running


@pytest.fixture(scope="module")
def site(running_site: Gateway, service: Service) -> Gateway:
    tell = {
        "input": {"type": "object", "properties": {"unit": {"const": "it's"}}},
        "endpoints": [{"url": f"{service.url}/tell"}],
    }
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["objects"][0]["methods"]["tell"] = tell
    running_site.register(manifest)
    everybody = {"kind": "anonymous"}
    for actions, names in (
        ("describe", "Thermo/introspect thermo thermo/read thermo/warmth"),
        ("subscribe", "thermo/warmth"),
    ):
        running_site.allow(f"thermo-{actions}", everybody, actions, names)
    return running_site


def get(url: str, accept: str = "", token: str = "") -> Answer:
    fields = {"Accept": accept} if accept else {}
    if token:
        fields["Authorization"] = f"Bearer {token}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=fields)) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


@pytest.mark.parametrize("media_type", TYPES)
@pytest.mark.parametrize("path", ["Thermo/introspect", "thermo"])
def test_http_negotiates_each_format(site, path, media_type):
    answer = get(f"{site.url}/{path}", f"{media_type}, */*;q=0.1", site.token)
    assert answer.status == 200
    assert answer.fields["Content-Type"].partition(";")[0] == media_type
    assert answer.fields["Vary"] == "Accept, Authorization"
    assert answer.fields["X-Content-Type-Options"] == "nosniff"
    head = urllib.request.Request(
        f"{site.url}/{path}",
        headers={"Accept": media_type, "Authorization": f"Bearer {site.token}"},
        method="HEAD",
    )
    with urllib.request.urlopen(head) as again:
        assert again.headers["Content-Type"] == answer.fields["Content-Type"]


def test_what_comes_is_readable(site):
    def body(name: str, path: str = "Thermo/introspect") -> bytes:
        return get(f"{site.url}/{path}?format={name}", "image/png", site.token).body

    assert json.loads(body("json"))["microservice"] == "Thermo"
    assert body("text").startswith(b"Microservice Thermo\n")
    assert b"Warmth &lt;b&gt;of rooms&lt;/b&gt;." in body("html")
    thing = json.loads(body("td", "thermo"))
    assert thing["actions"]["read"]["forms"][0]["href"] == f"{site.url}/thermo/read"
    assert json.loads(body("td"))["total"] == 2
    assert len(list(parsed(body("turtle"), "text/turtle"))) > 10
    assert len(list(parsed(body("rdfxml"), "application/rdf+xml"))) > 10
    document = json.loads(body("openapi"))
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    assert document["servers"][0]["url"] == site.url
    servers = json.loads(body("asyncapi"))["servers"]
    assert site.mqtt.endswith(servers["mqtt"]["host"])


def test_a_format_that_nobody_has_is_refused_with_those_that_there_are(site):
    for path in ("Thermo/introspect", "thermo"):
        answer = get(f"{site.url}/{path}", "image/png", site.token)
        problem = json.loads(answer.body)
        assert (answer.status, problem["type"]) == (406, "urn:hilum:problem:not-acceptable")
        assert problem["types"] == list(TYPES)
    answer = get(f"{site.url}/thermo?format=docx", "", site.token)
    assert answer.status == 400
    assert "use one of json, text, html" in json.loads(answer.body)["detail"]
    assert get(f"{site.url}/thermo?colour=red", "", site.token).status == 400


def test_where_a_service_is_stays_between_its_owner_and_operators(site, service):
    address = service.url.removeprefix("http://").encode()
    reader = {"principal": "user:thermo-reader"}
    site.allow("thermo-reader", reader, "describe", "Thermo/introspect thermo thermo/*")
    token = site.token_for("user:thermo-reader", "user")
    for media_type in TYPES:
        answer = get(f"{site.url}/Thermo/introspect", media_type, token)
        assert answer.status == 200
        assert b"tell" in answer.body or "asyncapi" in media_type
        assert address not in answer.body, media_type
    own = json.loads(get(f"{site.url}/thermo", "application/json", site.token).body)
    assert address.decode() in own["methods"]["tell"]["bindings"][0]["target"]
    seen = json.loads(get(f"{site.url}/thermo", "application/json", token).body)
    assert seen["methods"]["tell"]["bindings"] == [
        {"target": "Thermo/1.0.0/default", "healthy": True}
    ]


def test_no_format_shows_what_the_reader_may_not_describe(site):
    for each in FORMATS:
        for path in ("Thermo/introspect", "thermo"):
            answer = get(f"{site.url}/{path}", each.types[0])
            assert answer.status == 200, answer.body
            assert b"thermo/warmth" in answer.body or each.name == "openapi"
            for hidden in (b"secret", b"thermo-two", b"only for some"):
                assert hidden not in answer.body, (each.name, path)
    shown = json.loads(get(f"{site.url}/thermo").body)
    assert shown["methods"]["read"]["may"] == []
    assert shown["channels"]["warmth"]["may"] == ["subscribe"]


def test_mqtt_asks_by_the_payload_and_says_the_content_type(site):
    client = require_program("mosquitto_rr")
    host, _, port = site.mqtt.removeprefix("mqtt://").partition(":")
    done = subprocess.run(
        [
            *(client, "-V", "mqttv5", "-h", host, "-p", port, "-u", "admin", "-P", site.token),
            *("-i", "thermo-reader", "-e", "$reply/thermo-reader", "-t", "Thermo/introspect"),
            *("-m", '{"format": "turtle"}', "-W", "10", "-F", "%C|%p"),
        ],
        capture_output=True,
        timeout=20,
        check=False,
    )
    kind, _, body = done.stdout.partition(b"|")
    assert kind == b"text/turtle; charset=utf-8", done.stderr
    assert list(parsed(body, "text/turtle"))


def test_the_commands_of_the_page_work_as_they_stand(site):
    page = get(f"{site.url}/thermo", "text/html", site.token).body.decode()
    lines = [html.unescape(line) for line in re.findall(r"<pre>((?:curl|mosq).*?)</pre>", page)]
    environment = {**os.environ, "TOKEN": site.token, "USER": "admin"}

    def run(line: str) -> str:
        require_program(line.split()[0])
        done = subprocess.run(
            ["/bin/sh", "-c", line], env=environment, capture_output=True, timeout=20, check=True
        )
        return done.stdout.decode()

    publish = [line for line in lines if "mosquitto_pub" in line or "warmth --json" in line]
    assert len(publish) == 2
    for line in publish:
        run(line)
        assert get(f"{site.url}/thermo/warmth", "", site.token).body == b"1"
    calls = [line for line in lines if "thermo/tell" in line]
    assert [line.split()[0] for line in calls] == ["curl", "mosquitto_rr"]
    for line in calls:
        assert run(line).strip() == '{"unit":"it\'s"}'


def test_the_command_line_prints_any_format(site):
    for name, begin in (("html", "<!doctype html>"), ("turtle", "@prefix"), ("td", "{")):
        done = site.cli("describe", "thermo", "--format", name)
        assert done.stdout.startswith(begin), done.stderr
    assert site.cli("describe", "thermo", "--format", "docx").returncode == 2


def test_the_control_listener_shows_microservices(site):
    page = get(f"{site.control}/services/Thermo", "text/html", site.token)
    assert page.status == 200
    assert b"<h1>Thermo</h1>" in page.body
    policy = page.fields["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert page.fields["Vary"] == "Accept, Authorization"
    turtle = get(f"{site.control}/services/Thermo?format=turtle", "text/html", site.token)
    assert turtle.fields["Content-Type"].startswith("text/turtle")
    for path, status in (("Nobody", 404), ("", 404), ("Thermo/x", 404), ("..%2f", 404)):
        refused = get(f"{site.control}/services/{path}", "text/html", site.token)
        assert (refused.status, b"<h1>Not found</h1>" in refused.body) == (status, True)
    problem = get(f"{site.control}/services/Nobody", "application/json", site.token)
    assert problem.fields["Content-Type"] == "application/problem+json"


def test_a_browser_shows_the_page(site, tmp_path):
    with running_browser(tmp_path) as browser:
        for width in (1280, 390):
            browser.size(width, 900)
            browser.go(f"{site.url}/Thermo/introspect")
            assert browser.text("h1") == "Thermo"
            assert "You may subscribe to it." in browser.text()
            font = "return getComputedStyle(document.querySelector('h1')).fontSize"
            assert browser.run(font) != "32px", "the policy let the style in"
            wide = "return document.documentElement.scrollWidth - window.innerWidth"
            assert browser.run(wide) <= 0, f"nothing sticks out at {width} pixels"
            assert browser.run("return document.querySelectorAll('script, img').length") == 0
