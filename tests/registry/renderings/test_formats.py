"""Which format an ``Accept`` asks for (RFC 9110 section 12.5.1)."""

import pytest

from adapters.cli.registry import FORMATS as IN_HELP
from registry.media_types import MAX_ACCEPT
from registry.renderings.formats import NAMES, TYPES, named, negotiated

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "name"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/plain", "text"),
        ("text/plain;charset=utf-8", "text"),
        ("text/*", "text"),
        (BROWSER, "html"),
        ("TEXT/Turtle", "turtle"),
        ("application/rdf+xml;q=0.5, text/turtle;q=0.7", "turtle"),
        ("application/rdf+xml , text/turtle ; q=0.9", "rdfxml"),
        ("application/td+json", "td"),
        ("application/ld+json", "td"),
        ("application/openapi+json", "openapi"),
        ("application/vnd.oai.openapi+json;version=3.1", "openapi"),
        ("application/vnd.aai.asyncapi+json", "asyncapi"),
        # The range that says more wins, for and against.
        ("text/turtle, */*", "turtle"),
        ("*/*, application/json;q=0", "text"),
        ("application/*;q=0.1, text/html;q=0.2", "html"),
        # What cannot be read is as if it were not there.
        ("nonsense", "json"),
        ("text/turtle;q=7", "turtle"),
        (",;,text/turtle,,", "turtle"),
        ("text/turtle" + " " * MAX_ACCEPT + ", text/html;q=1", "turtle"),
        # CoAP's CBOR is JSON here.
        ("application/cbor", "json"),
        ("text/html;q=0.1, text/html", "html"),
    ],
)
def test_what_an_accept_asks_for(accept, name):
    choice = negotiated(accept)
    assert choice is not None
    assert choice.format.name == name


@pytest.mark.parametrize(
    "accept", ["image/png", "text/event-stream", "text/html;q=0", "*/*;q=0", "application/cbor;q=0"]
)
def test_what_nothing_suits(accept):
    assert negotiated(accept) is None


def test_a_format_has_a_name_and_media_types():
    assert {named(name).format.name for name in NAMES} == set(NAMES)
    assert all(named(each).media_type == each for each in TYPES)
    assert named("application/openapi+json; version=3.1").media_type == "application/openapi+json"
    assert named("docx") is None
    assert IN_HELP.replace(" or", ",").split(", ") == list(NAMES)
