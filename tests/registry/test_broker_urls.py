"""URLs of a broker's topics, and where manifests hold them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.broker_urls import parse_broker_url
from registry.documents import InvalidDocument
from registry.manifest import decode_manifest
from registry.urls import InvalidUrl


@pytest.mark.parametrize(
    ("text", "topic", "qos", "reply"),
    [
        ("mqtt://h/a/b", "a/b", 1, True),
        ("mqtts://H:8884/a?qos=0", "a", 0, True),
        ("mqtt://h/a%20b/%C3%A9?qos=2&reply=none", "a b/é", 2, False),
        ("mqtt://h//a", "/a", 1, True),
        ("mqtt://h/a/", "a/", 1, True),
        ("mqtt://h/$SYS/x", "$SYS/x", 1, True),
    ],
)
def test_a_topic(text, topic, qos, reply):
    parsed = parse_broker_url(text)
    assert (parsed.topic, parsed.qos, parsed.reply) == (topic, qos, reply)
    assert parsed.url.host == "h"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("http://h/a", "not supported"),
        ("mqtt://h", "topic is missing"),
        ("mqtt://h/", "topic is missing"),
        ("mqtt://h/a/+", "wildcards"),
        ("mqtt://h/%23", "wildcards"),
        ("mqtt://h/a/#", "wildcards"),
        ("h:1883/a", "write mqtt://"),
        ("mqtt://h/$share/g/a", "wildcards"),
        ("mqtt://h/%00", "null character"),
        ("mqtt://h/%FF", "not UTF-8"),
        ("mqtt://h/a%2Fb", "encoded '/'"),
        ("mqtt://h/{a}", "percent-encode"),
        ("mqtt://h/a?qos=3", "0 to 2"),
        ("mqtt://h/a?qos=", "0 to 2"),
        ("mqtt://h/a?qos=1&qos=1", "twice"),
        ("mqtt://h/a?reply=yes", "reply=none"),
        ("mqtt://h/a?retain=1", "no setting"),
        ("mqtt://u:p@h/a", "user information"),
    ],
)
def test_what_is_no_topic(text, why):
    with pytest.raises(InvalidUrl, match=why):
        parse_broker_url(text)


def test_a_source_has_no_reply():
    assert parse_broker_url("mqtt://h/a?qos=0", source=True).qos == 0
    for text in ("mqtt://h/a?qos=2", "mqtt://h/a?reply=none"):
        with pytest.raises(InvalidUrl):
            parse_broker_url(text, source=True)


@given(st.text(max_size=60), st.booleans())
def test_any_text(text, source):
    for prefix in ("", "mqtt://h/"):
        try:
            topic = parse_broker_url(prefix + text, source=source).topic
        except InvalidUrl:
            continue
        assert topic
        assert not set("+#\0") & set(topic)


def decode(methods=None, channels=None):
    obj = {"name": "room", "methods": methods or {}, "channels": channels or {}}
    document = {"apiVersion": "hilum/v1", "microservice": "R", "version": "1", "objects": [obj]}
    return decode_manifest(json.dumps(document).encode(), authority="s").objects[0]


def test_a_manifest_declares_sources_and_endpoints():
    sources = ["mqtt://h/t", "coap://[::1]/temp?unit=C", "coap+tcp://h/temp"]
    endpoint = {"url": "coap://h/light", "method": "IPATCH"}
    obj = decode({"set": {"endpoints": [endpoint]}}, {"temp": {"sources": sources}})
    assert obj.channels["temp"].sources == tuple(sources)
    assert obj.methods["set"].endpoints[0].method == "IPATCH"


@pytest.mark.parametrize(
    ("channel", "why"),
    [
        ({"sources": ["http://h/x"]}, "'http' is not supported"),
        ({"sources": ["mqtt://h/#"]}, "wildcards"),
        ({"sources": ["mqtt://h/+"]}, "wildcards"),
        ({"sources": ["coap://h/{x}"]}, "percent-encode"),
        ({"sources": ["mqtt://h/t"] * 17}, "16"),
    ],
)
def test_sources_that_cannot_be(channel, why):
    with pytest.raises(InvalidDocument, match=why):
        decode(channels={"temp": channel})


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ({"url": "mqtt://h/+"}, "wildcards"),
        ({"url": "mqtt://h/{a}"}, "percent-encode"),
        ({"url": "mqtt://h/a", "args": {"*": "body"}}, "takes no arguments"),
        ({"url": "coap://h/a", "method": "FETHC"}, "did you mean FETCH"),
        ({"url": "coap://h/a", "method": "BREW"}, "no CoAP method"),
        ({"url": "http://h/a", "method": "IPATCH"}, "no HTTP method"),
        ({"url": "nonsense", "method": "FETCH"}, "no HTTP method"),
    ],
)
def test_endpoints_that_cannot_be(endpoint, why):
    with pytest.raises(InvalidDocument, match=why):
        decode({"set": {"endpoints": [endpoint]}})
