"""The page of a microservice, without a browser: what it says, and what cannot get into it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from registry.model import EventChannel, Method, Profile, VirtualObject
from registry.names import Name
from registry.renderings.page import render_html
from registry.renderings.shown import legible
from registry.renderings.style import POLICY
from registry.things.view import Bases
from tests.registry.renderings.examples import PLAN, microservice, one_object

VOID = {"meta", "br"}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "class", "id", "href", "title", "rel", "dir", "scope"),
    *("data-head", "aria-label"),
}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "div", "header", "main", "footer", "nav"),
    *("section", "article", "h1", "h2", "h3", "h4", "p", "ul", "li", "a", "span", "small", "code"),
    *("pre", "table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "details", "summary"),
    "br",
}


class Page(HTMLParser):
    """Reads a page strictly: known elements and attributes, closed in order."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS
        assert {name for name, _ in attrs} <= ATTRIBUTES
        found = dict(attrs)
        self.links += [found["href"]] if found.get("href") else []
        self.ids += [found["id"]] if found.get("id") else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def test_a_page_says_what_a_microservice_is():
    page = Page(render_html(microservice()))
    for said in (
        *("Microservice at localhost", "Body weight.", "live", "version 1.4.0", "at the edge"),
        *("2 objects", "3 methods", "2 channels", "answers within 2000 ms", "idempotent"),
        *("You may call it.", "No policy lets you call it.", "You may subscribe to it."),
        *("Weight Sensor", "Bathroom", "50 ms (p95), 99.9 % of the time, 10 per second"),
        *("parts[].name", "array of object", "≥ 0; in kg", "at most 64 characters"),
        *("Bound to nothing now.", "not healthy", "no other values", '"kg", "lb"'),
    ):
        assert said in page.text, said
    for line in (
        'curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8080/Scale/weigh --json '
        '\'{"unit":"kg"}\'',
        'mosquitto_rr -V mqttv5 -h 127.0.0.1 -p 1883 -u "$USER" -P "$TOKEN" -i me '
        "-t plans/ann/look -e '$reply/me' -n",
        "coap-client-notls -m post coap://127.0.0.1:5683/plans/ann/look",
        "coap-client-notls -s 60 coap://127.0.0.1:5683/Scale/weights",
        "mosquitto_sub -V mqttv5 -h 127.0.0.1 -p 1883 -u",
    ):
        assert line in page.text, line
    assert "mosquitto_pub" not in page.text, "the reader may not publish"
    assert "https://brickschema.org/schema/Brick#Weight_Sensor" in page.links
    assert len(set(page.ids)) == len(page.ids)
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors == set(page.ids)


def test_an_object_has_a_page_of_its_own():
    page = Page(render_html(one_object()))
    assert "Virtual object at localhost" in page.text
    assert "Registrations" not in page.text


def test_what_is_not_served_has_no_example():
    page = Page(render_html(microservice(PLAN, bases=Bases(mqtt="mqtts://broker.example"))))
    assert "curl" not in page.text
    assert "-h broker.example -p 8883 --tls-use-os-certs" in page.text
    open_to_all = Bases("http://h", coap="coaps://h", anonymous=("http", "mqtt"))
    page = Page(render_html(microservice(PLAN, bases=open_to_all)))
    assert "curl http://h/plans/ann/look -X POST" in page.text
    assert 'coap-client-openssl -u "$IDENTITY" -k "$KEY" -m post coaps://h' in page.text
    assert "How to call it" not in Page(render_html(microservice(PLAN, bases=Bases()))).text


def test_nothing_to_show_is_said():
    shown = microservice()
    shown = shown._replace(described={**shown.described, "objects": []})
    assert "It offers no object" in Page(render_html(shown)).text


def test_the_policy_allows_the_style_alone():
    style = re.search(rb"<style>(.*?)</style>", render_html(microservice()), re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert POLICY.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")
    assert "unsafe" not in POLICY


ATTACKS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>",
    "]]><!--",
    "&lt;b&gt;",
)
BIDI = "\u202eevil\u2066\u200f\u061c\ufeff\u200b\U000e0041"


@pytest.mark.parametrize("attack", ATTACKS)
def test_markup_of_a_service_is_text(attack):
    schema = {
        "type": "object",
        "description": attack,
        "required": [attack],
        "properties": {attack: {"enum": [attack], "title": attack, "format": attack}},
    }
    profile = Profile(f"https://x.test/{attack}", {attack: "urn:x"}, {}, (attack,))
    hostile = VirtualObject(
        Name("localhost/x"),
        attack,
        {"m": Method(attack, input=schema, output=schema, types=(attack,), profile=profile)},
        {"c": EventChannel(attack, schema=schema)},
        (f"https://x.test/{attack}",),
        attack,
    )
    page = Page(render_html(microservice(hostile, title=attack)))
    assert attack in page.text
    assert all(link.startswith(("#", "?format=", "https://x.test/")) for link in page.links)


@pytest.mark.parametrize(
    "iri",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "https://x.test/a b",
        "https://x.test/\u202ea",
    ],
)
def test_only_addresses_of_the_web_are_links(iri):
    obj = VirtualObject(Name("localhost/x"), methods={"m": Method(types=(iri,))}, types=(iri,))
    page = Page(render_html(microservice(obj)))
    assert all(link.startswith(("#", "?format=")) for link in page.links)


def test_what_hides_or_reverses_text_is_replaced():
    hostile = VirtualObject(Name("localhost/x"), f"a{BIDI}\x00\x1b[31m\x9b\r\nb\tc")
    page = render_html(microservice(hostile)).decode()
    assert not any(character in page for character in (*BIDI.replace("evil", ""), "\x00", "\x1b"))
    assert "evil" in page
    assert legible("ok\n\t\u05d0é😀") == "ok\n\t\u05d0é😀"
    assert legible("\ud800") == "\N{REPLACEMENT CHARACTER}"
