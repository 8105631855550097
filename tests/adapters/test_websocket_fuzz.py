"""Whatever bytes a WebSocket gets, it answers with WebSocket frames or closes."""

import contextlib
import json
import struct

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Ping, Pong

from adapters.http.websockets.messages import id_of, payload_of, read_message, status_of
from adapters.http.websockets.websocket import WebSocket
from adapters.http.wire.payloads import members
from gateway.message import Refusal
from gateway.rota import Rota

ID = st.none() | st.integers(-(2**60), 2**60) | st.text(max_size=70) | st.floats() | st.booleans()
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
OPS = "auth call publish subscribe unsubscribe describe get provide withdraw reply fly"
OP = st.sampled_from(OPS.split(" "))
MEMBERS = "id name args payload contentType encoding timeout after group sub token status detail x"
MEMBER = st.sampled_from(MEMBERS.split(" "))
ENCODING = st.sampled_from(["base64", "", "gzip"])
MESSAGE = st.fixed_dictionaries(
    {"op": OP},
    optional={
        "id": ID,
        "name": st.text(max_size=30),
        "args": ANY,
        "payload": ANY | st.binary(max_size=20).map(lambda data: data.hex()),
        "contentType": st.sampled_from(["text/plain", "application/json", "a\r\nb: c/d", ""]),
        "encoding": ENCODING,
        "sub": ID,
        "token": st.text(max_size=20),
        "status": st.sampled_from(["ok", "denied", "cancelled", "?"]),
    },
)


def check(text):
    """Read a message as the session does: it is understood, or refused (nothing else is raised)."""
    key = id_of(text)
    assert key is None or type(key) in (int, str)
    with contextlib.suppress(Refusal):
        message = read_message(text)
        assert message.id is None or type(message.id) in (int, str)
        if hasattr(message, "status"):
            status_of(message.status)
        if hasattr(message, "payload"):
            payload, kind = payload_of(message)
            assert isinstance(payload, bytes)
            assert b"\r" not in kind
            assert b"\n" not in kind


@given(st.text(max_size=300))
def test_any_text(text):
    check(text)


@given(MESSAGE | st.dictionaries(MEMBER, ANY, max_size=5))
def test_any_members(document):
    check(json.dumps(document))


@pytest.mark.parametrize("depth", [10, 1_000, 200_000])
def test_any_depth(depth):
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        nested = opening * depth + "1" + closing * depth
        check('{"op":"publish","id":1,"name":"a","payload":' + nested + "}")
        check('{"id":' + nested)


@given(
    st.binary(max_size=100) | ANY.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(["application/json", "text/plain", "", "image/png", "a/b+json"]),
)
def test_every_payload_can_be_shown_and_read_back(payload, kind):
    shown = members(kind, payload)
    document = json.loads(msgspec.json.encode({"op": "publish", "name": "a", **shown}))
    read, read_kind = payload_of(read_message(json.dumps(document)))
    if "payload" in shown and "encoding" not in shown and kind.endswith("json"):
        assert json.loads(read) == json.loads(payload)
    else:
        assert read == payload
    assert not kind or read_kind.decode() == kind


class Transport:
    """What a connection writes to; the fuzz has no kernel in between."""

    def __init__(self):
        self.closed = False

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.closed

    def pause_reading(self):
        """All comes at once."""

    def resume_reading(self):
        """All comes at once."""

    def abort(self):
        self.closed = True


class Owner:
    """A connection's other half, in memory."""

    write_paused = False

    def __init__(self):
        self.written = b""
        self.closed = False
        self.transport = Transport()

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True


class Session:
    def __init__(self):
        self.heard = []
        self.ended = 0

    def message(self, text):
        self.heard.append(text)

    def closed(self):
        self.ended += 1


def frames(draw_from):
    first, second, mask, payload = draw_from
    return bytes([first, second]) + mask + payload


FRAME = st.tuples(
    st.integers(0, 255),
    st.integers(0, 255),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=40),
).map(frames)
GOOD = st.binary(max_size=30).map(
    lambda data: struct.pack("!BB", 0x81, 0x80 | len(data)) + b"\0\0\0\0" + data
)


@settings(max_examples=300)
@given(st.lists(FRAME | GOOD | st.binary(max_size=20), max_size=6), st.integers(1, 50))
async def test_any_frames(parts, size):
    owner, session = Owner(), Session()
    socket = WebSocket(owner, 1000, Rota())
    socket.session = session
    data = b"".join(parts)
    for at in range(0, len(data), size):
        if not owner.closed:
            socket.data_received(data[at : at + size])
    client = Connection(ConnectionType.CLIENT)
    client.receive_data(owner.written)
    for event in client.events():
        assert isinstance(event, Ping | Pong | CloseConnection)
    socket.connection_lost(None)
    assert session.ended == 1
    assert all(len(text) <= 1000 for text in session.heard)
