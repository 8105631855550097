"""Reading server-sent events: the standard's examples, any cut, any bytes, bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.client.sse import MAX_LINE, EventReader, ServerEvent, StreamTooLarge


def read(*parts: bytes) -> list[ServerEvent]:
    reader = EventReader()
    return [event for part in parts for event in reader.feed(part)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [("", "message", "a")]),
        (b"data: a\ndata: b\n\n", [("", "message", "a\nb")]),
        (b"data:a\r\rdata: b\r\n\r\n", [("", "message", "a"), ("", "message", "b")]),
        (b"id: x-1\nevent: gap\ndata: {}\n\n", [("x-1", "gap", "{}")]),
        (b"id: 1\ndata: a\n\ndata: b\n\n", [("1", "message", "a"), ("1", "message", "b")]),
        (b"id: 1\ndata: a\n\nid\ndata: b\n\n", [("1", "message", "a"), ("", "message", "b")]),
        (b": comment\n\nretry: 2000\n\n", []),
        (b"event: e\n\ndata: a\n\n", [("", "message", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("", "message", "a")]),
        (b"data\n\ndata\ndata\n\n", [("", "message", ""), ("", "message", "\n")]),
        (b"data: no end\n", []),
        (b"id: a\0b\ndata:  two spaces\n\n", [("", "message", " two spaces")]),
    ],
)
def test_a_stream_is_read_as_the_standard_says(stream, events):
    expected = [ServerEvent(*event) for event in events]
    assert read(stream) == expected
    assert read(*(bytes([byte]) for byte in stream)) == expected


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_read_the_same_however_they_are_cut(parts):
    assert read(*parts) == read(b"".join(parts))


@pytest.mark.parametrize("line", [b"data: " + b"x" * MAX_LINE, b"x" * (MAX_LINE + 1)])
def test_a_line_without_an_end_is_refused(line):
    with pytest.raises(StreamTooLarge):
        read(line[:-10], line[-10:] + b"y" * 20)


def test_an_event_of_many_lines_is_refused_too():
    line = b"data: " + b"x" * 65_536 + b"\n"
    with pytest.raises(StreamTooLarge):
        read(*[line] * (MAX_LINE // 65_536 + 1))
