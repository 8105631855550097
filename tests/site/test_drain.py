"""SIGTERM: whoever asked is answered, streams are told, newcomers are refused."""

import asyncio
import contextlib
import http.client
import json
import signal
import subprocess
import threading
from collections import Counter
from urllib.parse import urlsplit

import pytest

from tests.adapters import sockets
from tests.running import HILUM, Gateway, environment
from tests.site.wire import Place, Refused, Service, Wire, stream
from tests.support import ROOT


@contextlib.asynccontextmanager
async def serving(tmp_path, seconds=0.0, config=""):
    """A site of its own with an object ``s`` that a service of this loop provides."""
    site = Gateway(tmp_path, config=config)
    async with Service(seconds=seconds) as service:
        await asyncio.to_thread(site.start)
        try:
            methods = {"m": {"endpoints": [{"url": service.url}]}}
            channels = {"log": {"durable": True}}
            objects = [{"name": "s", "methods": methods, "channels": channels}]
            manifest = {"microservice": "S", "objects": objects}
            await asyncio.to_thread(site.register, manifest)
            yield site, service
        finally:
            await asyncio.to_thread(site.kill)


async def until_refused(work):
    """Repeat what sends one request, until nobody is there to take it."""
    done = 0
    with contextlib.suppress(Refused):
        while True:
            assert (await work()).status == 200
            done += 1
    return done


async def keep_alive(site, path, body):
    async with Wire(site.url, site.token) as wire:
        return await until_refused(lambda: wire.ask("POST", path, body))


async def one_by_one(site, path, body):
    async def ask():
        async with Wire(site.url, site.token) as wire:
            return await wire.ask("POST", path, body, connection="close")

    return await until_refused(ask)


def standard_library(site, path, body, results):
    """http.client: connects anew after ``Connection: close``, and repeats nothing."""
    connection = http.client.HTTPConnection(urlsplit(site.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {site.token}"}
    with contextlib.closing(connection), contextlib.suppress(ConnectionRefusedError):
        while True:
            try:
                connection.request("POST", path, body, headers)
                response = connection.getresponse()
                response.read()
                results[response.status] += 1
            except ConnectionRefusedError:
                raise
            except (OSError, http.client.HTTPException) as error:
                results[repr(error)] += 1
                return


async def test_no_request_fails_when_a_site_ends(tmp_path):
    async with serving(tmp_path) as (site, _):
        manifest = {"apiVersion": "hilum/v1", "microservice": "R", "version": "1", "objects": []}
        work = [keep_alive(site, "/s/m", b"1") for _ in range(6)]
        work += [keep_alive(site, "/s/log", b"2") for _ in range(2)]
        work += [keep_alive(site, "/$site/registry/register", manifest)]
        work += [one_by_one(site, "/s/m", b"3") for _ in range(4)]
        clients = [asyncio.create_task(one) for one in work]
        results = Counter()
        threads = [
            threading.Thread(target=standard_library, args=(site, "/s/m", b"4", results))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        await asyncio.sleep(0.6)
        code = await asyncio.to_thread(site.stop)
        done = await asyncio.wait_for(asyncio.gather(*clients), 10)
        for thread in threads:
            await asyncio.to_thread(thread.join, 10)
    assert code == 0
    assert min(done) > 0
    assert list(results) == [200]
    assert "Traceback" not in site.logged()


async def test_a_long_call_is_answered_and_newcomers_are_refused(tmp_path):
    async with (
        serving(tmp_path, seconds=1.5) as (site, service),
        Wire(site.url, site.token) as wire,
    ):
        call = asyncio.create_task(wire.ask("POST", "/s/m", b"1"))
        async with Wire(site.url, site.token) as idle:
            assert (await idle.ask("GET", "/s")).status == 200
            await service.called.wait()
            ending = asyncio.create_task(asyncio.to_thread(site.stop))
            await asyncio.sleep(0.3)
            last = await idle.ask("GET", "/s")
            assert (last.status, last.fields["connection"]) == (200, "close")
        with pytest.raises(Refused):
            await Wire(site.url).connect()
        assert not call.done()
        answer = await call
        assert (answer.status, answer.fields["connection"]) == (200, "close")
        assert answer.json()["got"] == "1"
        assert await ending == 0


async def test_a_call_without_end_ends_with_the_time_to_drain(tmp_path):
    config = "[limits]\ndrain_seconds = 0.5\n"
    async with (
        serving(tmp_path, 60.0, config) as (site, service),
        Wire(site.url, site.token) as wire,
    ):
        call = asyncio.create_task(wire.ask("POST", "/s/m", b"1"))
        await service.called.wait()
        assert await asyncio.wait_for(asyncio.to_thread(site.stop), 5) == 0
        with pytest.raises(ConnectionError):
            await call


async def test_streams_and_sockets_hear_that_the_site_ends(tmp_path):
    async with serving(tmp_path) as (site, _), Wire(site.url, site.token) as wire:
        opened = asyncio.Event()

        async def listen():
            return [event async for event in stream(wire, "/s/log", opened=opened.set)]

        listening = asyncio.create_task(listen())
        socket = await sockets.Client.open(Place(site.url, site.token))
        assert (await socket.ask("subscribe", name="s/log"))["status"] == "ok"
        await opened.wait()
        assert (await asyncio.to_thread(site.http, "POST", "/s/log", b"1")).status == 200
        ending = asyncio.create_task(asyncio.to_thread(site.stop))
        assert (await socket.closed()).code == 1001
        first, last = await listening
        assert first.data == "1"
        assert last.kind == "end"
        assert json.loads(last.data)["status"] == 503
        assert (await socket.op("event"))["payload"] == "1"
        assert await ending == 0
        socket.writer.close()


async def test_transfers_that_have_begun_are_completed(tmp_path):
    async with serving(tmp_path, 0.3) as (site, _), Wire(site.url, site.token) as wire:
        await wire.connect()
        head = f"POST /s/m HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {site.token}\r\n"
        wire.writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 50_000)
        await asyncio.sleep(0.3)
        ending = asyncio.create_task(asyncio.to_thread(site.stop))
        await asyncio.sleep(0.5)
        wire.writer.write(b"x" * 50_000)
        answer = await wire.answer()
        assert len(answer.json()["got"]) == 100_000
        assert await ending == 0


async def test_a_second_process_is_refused_and_harms_nobody(tmp_path):
    async with serving(tmp_path) as (site, _), Wire(site.url, site.token) as wire:
        first = (await wire.ask("POST", "/s/log", b"1")).json()["id"]
        calling = asyncio.create_task(keep_alive(site, "/s/m", b"1"))
        command = [*HILUM, "serve", "--state", str(site.state), "--http", ":0", "--control", ":0"]
        command += ["--mqtt", ":0", "--coap", ":0"]
        second = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert second.returncode == 11
        assert f"in use by process {site.process.pid}" in second.stderr
        assert "--state chooses another folder" in second.stderr
        assert "Traceback" not in second.stderr
        next_one = (await wire.ask("POST", "/s/log", b"2")).json()["id"]
        assert next_one == first.removesuffix("1") + "2"
        site.process.send_signal(signal.SIGTERM)
        assert await calling > 0
        await asyncio.to_thread(site.restart)
        async with Wire(site.url, site.token) as again:
            assert (await again.ask("GET", "/s/log")).body == b"2"
