"""WebSockets that are not spoken as they should be: handshakes, frames, sizes, slow clients."""

import asyncio
import json
import struct
from itertools import count

import pytest
import pytest_asyncio

from adapters.http.websockets import websocket
from tests.adapters.live import LiveSite, live_site, small_socket, until
from tests.adapters.sockets import UPGRADE, Client

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with live_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    mine = LiveSite(shared.application, shared.state, f"Band{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


def frame(opcode, payload, *, final=True, masked=True, reserved=0):
    first = (0x80 if final else 0) | reserved | opcode
    size = len(payload)
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 65536:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = b"\x12\x34\x56\x78"
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


async def raw_socket(site, early=b""):
    """Open a socket by hand; returns reader and writer after the handshake."""
    reader, writer = await site.connect()
    head = site.head("GET", "/$site/socket", *UPGRADE)
    writer.write(f"{head}\r\n".encode() + early)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert answer.startswith(b"HTTP/1.1 101 ")
    # The key and its answer are those of RFC 6455 section 1.3.
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
    return reader, writer


async def read_frame(reader):
    first, second = await asyncio.wait_for(reader.readexactly(2), 5)
    assert not second & 0x80, "a server does not mask"
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack("!H", await reader.readexactly(2))
    elif size == 127:
        (size,) = struct.unpack("!Q", await reader.readexactly(8))
    return first & 0x0F, await reader.readexactly(size)


DESCRIBE = b'{"op":"get","id":1,"name":"nothing"}'


class TestHandshake:
    @pytest.mark.parametrize(
        ("lines", "verb", "status"),
        [
            ((UPGRADE[0], UPGRADE[1], UPGRADE[3]), "GET", 400),
            ((*UPGRADE[:2], "Sec-WebSocket-Version: 8", UPGRADE[3]), "GET", 400),
            (UPGRADE[:3], "GET", 400),
            ((*UPGRADE[:3], "Sec-WebSocket-Key: short"), "GET", 400),
            ((*UPGRADE[:3], "Sec-WebSocket-Key: !!!!!!!!!!!!!!!!!!!!!!=="), "GET", 400),
            (UPGRADE, "POST", 400),
            ((), "GET", 426),
            (("Upgrade: h2c", UPGRADE[1]), "GET", 426),
        ],
    )
    async def test_what_is_no_handshake(self, site, lines, verb, status):
        reader, writer = await site.connect()
        head = site.head(verb, "/$site/socket", *lines, "Content-Length: 0")
        writer.write(f"{head}\r\n".encode())
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert int(answer[9:12]) == status
        if status == 400:
            assert b"Sec-WebSocket-Version: 13\r\n" in answer

    async def test_a_handshake_has_no_payload(self, site):
        answer = await site.ask("GET", "/$site/socket", b"hello", *UPGRADE)
        assert answer.status == 400

    async def test_a_handshake_waits_for_nobody(self, site):
        """A client may not pipeline a handshake: what would the bytes after it be?"""
        client = await Client.open(site)
        await client.ask("provide", name="Band/add")
        reader, writer = await site.connect()
        call = site.head("POST", "/Band/add", "Content-Length: 0") + "\r\n"
        upgrade = site.head("GET", "/$site/socket", *UPGRADE) + "\r\n"
        writer.write((call + upgrade).encode())
        asked = await client.op("call")
        client.say(op="reply", id=asked["id"])
        data = await asyncio.wait_for(reader.read(), 5)
        assert data.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 400" in data

    async def test_other_offers_to_upgrade_are_ignored(self, site):
        """Java's client offers HTTP/2 with every request, also with a payload."""
        ids = []
        reader, writer = await site.connect()
        offer = ("Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAAA")
        for text in (b"one", b"", b"three"):
            head = site.head("POST", "/Band/steps", *offer, f"Content-Length: {len(text)}")
            writer.write(f"{head}\r\n".encode())
            for byte in text:
                await asyncio.sleep(0.001)
                writer.write(bytes([byte]))
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
            assert answer.lstrip().startswith(b"HTTP/1.1 200"), answer
            ids.append(answer)
        two = [site.head("POST", "/Band/steps", *offer, "Content-Length: 3") + "\r\nabc"] * 2
        writer.write("".join(two).encode())
        for _ in two:
            answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
            assert answer.lstrip().startswith(b"HTTP/1.1 200"), answer
        route = site.application.site.view.find(site.name("steps"))
        payloads = [event.payload for event in await site.channels.history(route)]
        assert payloads == [b"one", b"", b"three", b"abc", b"abc"]

    async def test_an_offer_to_upgrade_with_chunks_is_refused(self, site):
        reader, writer = await site.connect()
        head = site.head(
            "POST", "/Band/steps", "Upgrade: h2c", UPGRADE[1], "Transfer-Encoding: chunked"
        )
        smuggled = "0\r\n\r\n" + site.head("POST", "/Band/steps", "Content-Length: 0") + "\r\n"
        writer.write(f"{head}\r\n{smuggled}".encode())
        data = await asyncio.wait_for(reader.read(), 5)
        assert data.startswith(b"HTTP/1.1 400")
        assert data.count(b"HTTP/1.1 ") == 1


class TestFrames:
    async def test_frames_that_come_with_the_handshake(self, site):
        reader, _ = await raw_socket(site, frame(TEXT, DESCRIBE))
        opcode, payload = await read_frame(reader)
        assert opcode == TEXT
        assert json.loads(payload)["id"] == 1

    async def test_a_message_in_many_pieces(self, site):
        reader, writer = await raw_socket(site)
        pieces = [frame(TEXT, DESCRIBE[:3], final=False), frame(PING, b"hi")]
        pieces += [frame(0, b"", final=False), frame(0, DESCRIBE[3:])]
        for byte in b"".join(pieces):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await read_frame(reader) == (PONG, b"hi")
        assert json.loads((await read_frame(reader))[1])["id"] == 1

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (frame(BINARY, b"x"), 1003),
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, b"{}", masked=False), 1002),
            (frame(TEXT, b"{}", reserved=0x40), 1002),
            (frame(3, b"{}"), 1002),
            (frame(0, b"{}"), 1002),
            (frame(PING, b"x" * 126), 1002),
            (frame(PING, b"", final=False), 1002),
            (frame(CLOSE, b"x"), 1002),
            (frame(CLOSE, struct.pack("!H", 1000)), 1000),
            (frame(CLOSE, struct.pack("!H", 999)), 1002),
            (frame(CLOSE, b""), None),
            (frame(TEXT, b"x" * 2_000_000), 1009),
        ],
    )
    async def test_what_is_no_message(self, site, data, code):
        sockets = site.application.sockets
        reader, writer = await raw_socket(site)
        writer.write(data)
        opcode, payload = await read_frame(reader)
        assert opcode == CLOSE
        assert (struct.unpack("!H", payload[:2])[0] if payload else None) == code
        await until(lambda: not sockets._sessions)
        writer.close()

    async def test_a_message_of_endless_pieces_is_bounded(self, site):
        reader, writer = await raw_socket(site)
        writer.write(frame(TEXT, b"x", final=False))
        for _ in range(30):
            writer.write(frame(0, b"x" * 65536, final=False))
        opcode, payload = await read_frame(reader)
        assert (opcode, struct.unpack("!H", payload[:2])[0]) == (CLOSE, 1009)

    async def test_messages_that_say_nothing_are_answered(self, site):
        client = await Client.open(site)
        for text, detail in (
            ("", "truncated"),
            ("{", "truncated"),
            ("[]", "Expected `object`"),
            ("nonsense", "malformed"),
            ('{"op":"fly","id":3}', "op must be one of: auth, call, publish"),
            ('{"id":3}', "op must be one of"),
            ('{"op":"call","id":3}', "missing required field `name`"),
            ('{"op":"get","id":3,"name":"x","nmae":1}', "unknown field `nmae`"),
            ('{"op":"get","id":3,"name":7}', "Expected `str`"),
            ('{"op":"call","id":3,"name":"Band/add","timeout":0}', "`int` >= 1"),
            ('{"op":"publish","id":3,"name":"%s/steps","payload":1,"contentType":"a"}', "media"),
            ('{"op":"publish","id":3,"name":"%s/steps","payload":1,"contentType":"a/b"}', "string"),
            (
                '{"op":"publish","id":3,"name":"%s/steps","payload":"?","encoding":"base64"}',
                "base64",
            ),
            ('{"op":"publish","id":3,"name":"%s/steps","payload":"?","args":1}', "leave out"),
            ('{"op":"publish","id":3,"name":"%s/steps","payload":' + "[" * 9999, "recursion"),
            ('{"op":"reply","id":"1","status":"cancelled"}', "status"),
        ):
            client.text(text.replace("%s", site.object))
            reply = await client.op("reply")
            assert reply["status"] == "bad-request"
            assert detail in reply["problem"]["detail"], text
            assert reply["id"] in (None, 3, "1")
        assert (await client.ask("describe", name=site.object))["status"] == "ok"

    async def test_a_large_payload_passes(self, site):
        provider, client = await Client.open(site), await Client.open(site)
        await provider.ask("provide", name="Band/add")
        text = "é" * 400_000
        client.say(op="call", id=1, name="Band/add", payload=text)
        asked = await provider.op("call")
        assert asked["payload"] == text
        provider.say(op="reply", id=asked["id"], payload=text)
        assert (await client.op("reply"))["payload"] == text

    async def test_a_lost_client_is_forgotten_at_once(self, site):
        sockets = site.application.sockets
        client = await Client.open(site)
        await client.ask("subscribe", name="Band/steps")
        client.gone()
        await until(lambda: not sockets._sessions)
        half = await Client.open(site)
        half.writer.write_eof()
        await until(lambda: not sockets._sessions)


class TestSlowClients:
    async def _open(self, site, *messages):
        client = small_socket(site.port)
        loop = asyncio.get_running_loop()
        head = site.head("GET", "/$site/socket", *UPGRADE)
        await loop.sock_sendall(client, f"{head}\r\n".encode())
        for message in messages:
            text = json.dumps(message).replace("Band/", f"{site.object}/")
            await loop.sock_sendall(client, frame(TEXT, text.encode()))
        await until(lambda: site.application.sockets._sessions)
        return client

    async def test_events_wait_in_a_bounded_queue(self, site):
        client = await self._open(site, {"op": "subscribe", "id": 1, "name": "Band/steps"})
        await until(lambda: site.name("steps") in site.channels._topics)
        topic = site.channels._topics[site.name("steps")]
        await until(lambda: topic.everyone)
        (subscription,) = topic.everyone
        route = site.application.site.view.find(site.name("steps"))
        for number in range(400):
            await site.channels.publish(route, "u:x", "text/plain", b"%03d" % number + b"x" * 20000)
            await asyncio.sleep(0)
        assert subscription._paused
        assert len(subscription._queue) < 100
        loop = asyncio.get_running_loop()
        data = b""
        while b'"399x' not in data[-30_000:]:
            data += await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 5)
        assert data.count(b'"op":"gap"') == 1
        client.close()

    async def test_a_client_that_reads_nothing_is_disconnected(self, site, monkeypatch):
        monkeypatch.setattr(websocket, "WAITING", 100_000)
        await site.publish("steps", "x" * 50_000)
        sockets = site.application.sockets
        client = await self._open(site)
        loop = asyncio.get_running_loop()
        asking = frame(TEXT, b'{"op":"get","id":%d,"name":"%s/steps"}' % (1, site.object.encode()))
        for _ in range(200):
            if not sockets._sessions:
                break
            await loop.sock_sendall(client, asking)
            await asyncio.sleep(0.005)
        assert not sockets._sessions
        client.close()

    async def test_goodbye_to_a_client_that_reads_nothing(self, site):
        await site.publish("steps", "x" * 50_000)
        client = await self._open(site)
        sockets = site.application.sockets
        (connection,) = sockets._sessions.values()
        loop = asyncio.get_running_loop()
        asking = frame(TEXT, b'{"op":"get","id":1,"name":"%s/steps"}' % site.object.encode())
        while not connection.paused:
            await loop.sock_sendall(client, asking)
            await asyncio.sleep(0.005)
        connection.close(1001, "bye")
        await until(lambda: connection._owner not in site.application.listener.connections)
        client.close()
