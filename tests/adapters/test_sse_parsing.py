"""What arrives of an event stream's query and headers, and what of a payload."""

import base64
import contextlib

from hypothesis import given
from hypothesis import strategies as st

from adapters.http.serving import events
from adapters.http.serving.events import event_block, read_wish
from gateway.message import Event, EventId
from registry.names import Name
from tests.adapters.live import parse_events


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_query_and_header_are_read_or_refused(query, header):
    with contextlib.suppress(ValueError):
        wish = read_wish(query, header)
        assert len(wish.after) <= 128
        assert not (wish.after and wish.group)


@given(st.text(max_size=60), st.sampled_from(["text/plain", "application/json", "", "a/b"]))
def test_every_payload_is_recovered_exactly(text, kind):
    payload = text.encode("utf-8", "surrogatepass")
    event = Event(Name("localhost/a/b"), EventId("i", 7), 0, "u:x", kind, payload)
    block = event_block(event)
    assert block.endswith(b"\n\n")
    assert b"\r" not in block
    (parsed,) = parse_events(block.decode())
    assert parsed["id"] == "i-7"
    data = parsed["data"].encode()
    if parsed.get("event") == "base64":
        data = base64.b64decode(data)
    assert data == payload


def test_a_last_event_id_is_only_a_text():
    assert read_wish(b"", b" a-1 ").after == "a-1"
    assert read_wish(b"", b"\xff\xfe").after == "��"
    assert len(read_wish(b"", b"x" * 9999).after) == 128
    assert read_wish(b"after=oldest", b"").after == events.OLDEST
