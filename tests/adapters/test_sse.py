"""Server-sent events on real sockets: framing, resume, gaps, groups, slow and lost clients."""

import asyncio
import base64
import json
from itertools import count

import httpx
import pytest
import pytest_asyncio

from gateway.subscriptions import Bounds
from tests.adapters.live import LiveSite, live_site, parse_events, small_socket, until

SSE = "Accept: text/event-stream"
pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with live_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    """The module's site, with an object of the test's own."""
    mine = LiveSite(shared.application, shared.state, f"Band{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


class Stream:
    """A client of one event stream."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.head = ""
        self.text = ""
        self.ended = False
        self.raw = b""
        self._chunked = False

    @classmethod
    async def open(cls, site, path="/Band/steps", *lines, token=None, version="1.1"):
        reader, writer = await site.connect()
        head = site.head("GET", path, SSE, *lines, token=token).replace(
            "HTTP/1.1", f"HTTP/{version}"
        )
        writer.write(f"{head}\r\n".encode())
        stream = cls(reader, writer)
        stream.head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode()
        stream._chunked = "Transfer-Encoding: chunked" in stream.head
        return stream

    async def blocks(self, count):
        """Return the blocks so far, once there are ``count`` with an id, data or event."""
        while len(found := self._found()) < count and not self.ended:
            await asyncio.wait_for(self._read(), 5)
        assert len(found) >= count, (found, self.ended)
        return found

    async def rest(self):
        while not self.ended:
            await asyncio.wait_for(self._read(), 5)
        return self._found()

    async def _read(self):
        if not self._chunked:
            data = await self.reader.read(65536)
            self.ended = not data
            self.text += data.decode()
            return
        size = int(await self.reader.readline(), 16)
        self.text += (await self.reader.readexactly(size + 2))[:-2].decode()
        self.ended = size == 0

    def _found(self):
        return [
            block for block in parse_events(self.text) if block.keys() & {"id", "data", "event"}
        ]

    def close(self):
        self.writer.close()


class TestStream:
    async def test_events_as_they_are_published(self, site):
        stream = await Stream.open(site)
        assert stream.head.startswith("HTTP/1.1 200 OK\r\n")
        assert "Content-Type: text/event-stream\r\n" in stream.head
        assert "Cache-Control: no-store\r\n" in stream.head
        ids = await site.publish("steps", "one", '{"n": 2}')
        blocks = await stream.blocks(2)
        assert blocks == [{"id": ids[0], "data": "one"}, {"id": ids[1], "data": '{"n": 2}'}]
        assert parse_events(stream.text)[0] == {"retry": "2000"}
        stream.close()

    async def test_text_of_several_lines_arrives_exactly(self, site):
        stream = await Stream.open(site)
        await site.publish("steps", "a\nb\n\nc\n", "", ": x", "\ufeffé\u2028")
        blocks = await stream.blocks(4)
        assert [block["data"] for block in blocks] == ["a\nb\n\nc\n", "", ": x", "\ufeffé\u2028"]
        stream.close()

    async def test_what_is_no_text_comes_as_base64(self, site):
        stream = await Stream.open(site)
        for body, kind in (
            (b"\xff\x00", "application/octet-stream"),
            (b"a\r\nb", "text/plain"),
            (b"cabc", "application/cbor"),
            (b"\xff", "text/plain"),
        ):
            answer = await site.ask("POST", "/Band/steps", body, f"Content-Type: {kind}")
            assert answer.status == 200
        blocks = await stream.blocks(4)
        assert {block["event"] for block in blocks} == {"base64"}
        payloads = [base64.b64decode(block["data"]) for block in blocks]
        assert payloads == [b"\xff\x00", b"a\r\nb", b"cabc", b"\xff"]
        stream.close()

    async def test_cloudevents(self, site):
        stream = await Stream.open(site, "/Band/steps?format=cloudevents")
        await site.publish("steps", '{"n": 1}', kind="application/json")
        await site.publish("steps", "text")
        await site.ask("POST", "/Band/steps", b"\xff", "Content-Type: image/png")
        documents = [json.loads(block["data"]) for block in await stream.blocks(3)]
        first = documents[0]
        assert first["specversion"] == "1.0"
        assert first["source"] == f"urn:hilum:{site.name('steps')}"
        assert first["type"] == "hilum.event"
        assert first["datacontenttype"] == "application/json"
        assert first["data"] == {"n": 1}
        assert first["principal"]
        assert first["time"].endswith("Z")
        assert first["id"] == (await stream.blocks(3))[0]["id"]
        assert documents[1]["data"] == "text"
        assert documents[2]["data_base64"] == "/w=="
        stream.close()

    async def test_http_1_0_gets_a_stream_without_chunks(self, site):
        stream = await Stream.open(site, version="1.0")
        assert "chunked" not in stream.head
        ids = await site.publish("steps", "one")
        assert await stream.blocks(1) == [{"id": ids[0], "data": "one"}]
        stream.close()

    async def test_head_says_what_get_would(self, site):
        answer = await site.ask("HEAD", "/Band/steps", b"", SSE)
        assert answer.status == 200
        assert "text/event-stream" in answer.head
        assert answer.body == b""

    async def test_a_standard_client_reads_it(self, site):
        headers = {"accept": "text/event-stream", "authorization": f"Bearer {site.token}"}
        url = f"http://127.0.0.1:{site.port}{site.path('steps')}"
        async with (
            httpx.AsyncClient(headers=headers, timeout=5) as client,
            client.stream("GET", url) as response,
        ):
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 2000"
            await site.publish("steps", "one")
            assert await anext(lines) == ""
            assert (await anext(lines)).startswith("id: ")
            assert await anext(lines) == "data: one"

    async def test_heartbeats_keep_an_idle_stream_alive(self, site, monkeypatch):
        streams = site.streams
        monkeypatch.setattr(streams, "_heartbeat", 0.05)
        stream = await Stream.open(site)
        while stream.text.count("\n:\n") < 2 and stream.text.count(":\n\n") < 2:
            await asyncio.wait_for(stream._read(), 5)
        stream.close()
        await until(lambda: streams._timer is None)


class TestResume:
    @pytest.mark.parametrize("member", ["steps", "kept"])
    async def test_last_event_id_goes_on_without_loss(self, site, member):
        first = await Stream.open(site, f"/Band/{member}")
        await site.publish(member, "a", "b")
        seen = (await first.blocks(2))[-1]["id"]
        first.close()
        await site.publish(member, "c", "d")
        again = await Stream.open(site, f"/Band/{member}", f"Last-Event-ID: {seen}")
        await site.publish(member, "e")
        assert [block["data"] for block in await again.blocks(3)] == ["c", "d", "e"]
        again.close()

    async def test_after_in_the_query_but_the_header_wins(self, site):
        ids = await site.publish("steps", "a", "b", "c")
        stream = await Stream.open(site, f"/Band/steps?after={ids[0]}")
        assert [block["data"] for block in await stream.blocks(2)] == ["b", "c"]
        stream.close()
        stream = await Stream.open(site, f"/Band/steps?after={ids[0]}", f"Last-Event-ID: {ids[1]}")
        assert [block["data"] for block in await stream.blocks(1)] == ["c"]
        stream.close()

    async def test_oldest(self, site):
        await site.publish("steps", "a", "b")
        stream = await Stream.open(site, "/Band/steps?after=oldest")
        assert [block["data"] for block in await stream.blocks(2)] == ["a", "b"]
        stream.close()

    async def test_an_evicted_id_gives_a_gap_event(self, site):
        ids = await site.publish("short", *"abcdef")
        stream = await Stream.open(site, "/Band/short", f"Last-Event-ID: {ids[0]}")
        blocks = await stream.blocks(4)
        assert blocks[0]["event"] == "gap"
        assert json.loads(blocks[0]["data"]) == {
            "reason": "evicted",
            "after": ids[0],
            "until": ids[2],
            "lost": 2,
        }
        assert [block["data"] for block in blocks[1:]] == ["d", "e", "f"]
        stream.close()
        again = await Stream.open(site, "/Band/short", f"Last-Event-ID: {blocks[0]['id']}")
        assert [block["data"] for block in await again.blocks(3)] == ["d", "e", "f"]
        again.close()

    async def test_a_foreign_id_gives_a_gap_event(self, site):
        await site.publish("steps", "a")
        stream = await Stream.open(site, "/Band/steps", "Last-Event-ID: from another server")
        gap, event = await stream.blocks(2)
        assert json.loads(gap["data"])["reason"] == "foreign"
        assert json.loads(gap["data"])["lost"] is None
        assert event["data"] == "a"
        stream.close()

    async def test_a_durable_channel_goes_on_after_a_restart(self, tmp_path):
        seen = {}
        for life in range(2):
            async with live_site(tmp_path) as site:
                for member in ("steps", "kept"):
                    if life:
                        stream = await Stream.open(
                            site, f"/Band/{member}", f"Last-Event-ID: {seen[member]}"
                        )
                        seen[f"{member} again"] = stream
                    seen[member] = (await site.publish(member, f"{member}{life}"))[0]
                if life:
                    kept = await seen["kept again"].blocks(1)
                    assert [block["data"] for block in kept] == ["kept1"]
                    steps = await seen["steps again"].blocks(2)
                    assert [block.get("event") for block in steps] == ["gap", None]


class TestRefusals:
    @pytest.mark.parametrize(
        ("query", "says"),
        [
            ("after=nonsense", "no event id"),
            ("group=g&after=x-1", "does not resume"),
            ("format=xml", "cloudevents"),
            ("group=" + "g" * 256, "255"),
            ("group=%00", "printable"),
            ("&".join(["a=b"] * 40), "fields"),
        ],
    )
    async def test_a_query_that_cannot_be_meant(self, site, query, says):
        answer = await site.ask("GET", f"/Band/steps?{query}", b"", SSE)
        assert answer.status == 400
        assert says in answer.json()["detail"]

    async def test_subscribing_needs_permission(self, site):
        token = await site.token_for("user:ann")
        answer = await site.ask("GET", "/Band/steps", b"", SSE, token=token)
        assert answer.status == 403
        await site.allow("ann", "subscribe", "user:ann")
        stream = await Stream.open(site, token=token)
        stream.close()
        assert (await site.ask("GET", "/Band/steps", b"", SSE, token="")).status == 401

    async def test_joining_a_group_needs_a_rule_that_names_it(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "subscribe", "user:ann", groups=["family"])
        stream = await Stream.open(site, "/Band/steps?group=family", token=token)
        stream.close()
        answer = await site.ask("GET", "/Band/steps?group=other", b"", SSE, token=token)
        assert answer.status == 403

    async def test_other_kinds_of_names_have_no_events(self, site):
        assert (await site.ask("GET", "/Band/add", b"", SSE)).status == 405
        assert (await site.ask("GET", "/Band/nothing", b"", SSE)).status == 404


class TestEnds:
    async def test_a_denied_subscriber_hears_why(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "subscribe", "user:ann")
        stream = await Stream.open(site, token=token)
        other = await Stream.open(site)
        await site.delete("ann")
        (end,) = await stream.rest()
        assert end["event"] == "end"
        assert json.loads(end["data"])["status"] == 403
        await site.publish("steps", "still")
        assert (await other.blocks(1))[0]["data"] == "still"
        other.close()

    async def test_a_revoked_token_ends_its_streams(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "subscribe", "user:ann")
        stream = await Stream.open(site, token=token)
        await site.call("token/revoke", {"id": token.split("_")[1]})
        (end,) = await stream.rest()
        assert json.loads(end["data"])["status"] == 401

    async def test_a_destroyed_channel_ends_its_streams(self, site):
        stream = await Stream.open(site)
        await site.call(
            "registry/deregister",
            {"microservice": site.object, "version": "1.0.0", "instance": "a"},
        )
        (end,) = await stream.rest()
        assert json.loads(end["data"])["status"] == 404

    async def test_a_site_that_shuts_down_says_so_at_once(self, tmp_path):
        async with live_site(tmp_path, clients_stay=True) as site:
            stream = await Stream.open(site)
            await site.publish("steps", "last")
            await stream.blocks(1)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 0.9
        blocks = await stream.rest()
        assert [block.get("event") for block in blocks] == [None, "end"]

    async def test_a_client_that_leaves_is_forgotten(self, site):
        streams = site.streams
        stream = await Stream.open(site)
        half = await Stream.open(site)
        await until(lambda: len(streams._streams) == 2)
        stream.writer.transport.abort()
        half.writer.write_eof()
        await until(lambda: not streams._streams)
        topic = site.channels._topics[site.name("steps")]
        assert not topic.everyone

    async def test_the_connection_can_be_used_again_after_the_end(self, site):
        token = await site.token_for("user:ann")
        await site.allow("ann", "subscribe", "user:ann")
        stream = await Stream.open(site, token=token)
        await site.delete("ann")
        await stream.rest()
        stream.writer.write((site.head("GET", "/Band/steps") + "\r\n").encode())
        line = await asyncio.wait_for(stream.reader.readline(), 5)
        assert line.startswith(b"HTTP/1.1 404")
        stream.close()


class TestGroups:
    async def test_members_share_the_events(self, site):
        members = [await Stream.open(site, "/Band/steps?group=g") for _ in range(2)]
        await site.publish("steps", *"abcd")
        for index, member in enumerate(members):
            assert [block["data"] for block in await member.blocks(2)] == [*"abcd"[index::2]]
            member.close()

    async def test_a_reconnecting_member_is_not_refused(self, site):
        ids = await site.publish("steps", "a", "b")
        stream = await Stream.open(site, "/Band/steps?group=g", f"Last-Event-ID: {ids[0]}")
        await site.publish("steps", "c")
        assert [block["data"] for block in await stream.blocks(1)] == ["c"]
        stream.close()

    async def test_a_policy_dispatches_among_plain_subscribers(self, site):
        spec = {"names": [f"{site.object}/steps"], "delivery": "one-of-group"}
        await site.apply("ResolutionPolicy", "share", spec)
        members = [await Stream.open(site) for _ in range(2)]
        await site.publish("steps", *"abcd")
        for index, member in enumerate(members):
            assert [block["data"] for block in await member.blocks(2)] == [*"abcd"[index::2]]
            member.close()


class TestSlowClients:
    async def _open(self, site, path):
        client = small_socket(site.port)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, f"{site.head('GET', path, SSE)}\r\n".encode())
        await until(lambda: site.streams._streams)
        return client

    async def _flood(self, site, member):
        topic = site.channels._topics[site.name(member)]
        (subscription,) = topic.everyone
        subscription._bounds = Bounds(10, 1 << 20)
        route = site.application.site.view.find(site.name(member))
        for number in range(400):
            text = f"{number} ".ljust(20_000, "x").encode()
            await site.channels.publish(route, "user:band", "text/plain", text)
            await asyncio.sleep(0)

    async def _read_all(self, client):
        loop = asyncio.get_running_loop()
        data = b""
        while True:
            try:
                more = await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 0.3)
            except (TimeoutError, ConnectionResetError):
                return data
            if not more:
                return data
            data += more

    async def test_the_oldest_events_are_dropped_and_a_gap_says_so(self, site):
        client = await self._open(site, "/Band/steps")
        await self._flood(site, "steps")
        data = await self._read_all(client)
        client.close()
        gaps = [line for line in data.split(b"\n") if line.startswith(b'data: {"reason"')]
        seen = [
            int(line[6:].split(b" ")[0])
            for line in data.split(b"\n")
            if line.startswith(b"data: ") and line not in gaps
        ]
        (gap,) = gaps
        lost = json.loads(gap[6:])
        assert lost["reason"] == "overflow"
        assert len(seen) + lost["lost"] == 400
        assert seen == sorted(seen)
        assert seen[-10:] == list(range(390, 400))

    async def test_or_the_client_is_disconnected(self, site):
        client = await self._open(site, "/Band/strict")
        await self._flood(site, "strict")
        streams = site.streams
        await until(lambda: not streams._streams)
        assert len(await self._read_all(client)) < 400 * 20_000
        client.close()

    async def test_a_client_that_takes_nothing_at_all_is_disconnected(self, site, monkeypatch):
        streams = site.streams
        monkeypatch.setattr(streams, "_heartbeat", 0.05)
        client = await self._open(site, "/Band/steps")
        await self._flood(site, "steps")
        await until(lambda: not streams._streams)
        client.close()
