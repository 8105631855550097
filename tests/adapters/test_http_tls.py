"""TLS of the data listener and towards endpoints, and certificates that change (design 6)."""

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters import tls
from gateway.identity.authority import AuthorityFolder
from gateway.identity.certificates import Trust
from gateway.settings import Limits, Listen, Upstream
from tests.adapters.relay import Relay, Talk, echo, running_relay, service
from tests.adapters.wire import Client, connected, problem_of

FIRST, SECOND = (Path(__file__).with_name(n) for n in ("localhost.pem", "localhost2.pem"))
KEY = "-----BEGIN PRIVATE KEY-----"


def parts(pem: Path) -> tuple[str, str]:
    """Return certificate and key of one of the files above."""
    certificate, mark, key = pem.read_text().partition(KEY)
    return certificate[certificate.index("-----BEGIN") :], mark + key


class Files:
    """The files that a listener is told of."""

    def __init__(self, folder: Path, pem: Path) -> None:
        self.certificate = folder / "site.crt"
        self.key = folder / "site.key"
        self.put(pem)
        self.listen = Listen(tls_certificate=self.certificate, tls_key=self.key)

    def put(self, pem: Path, *, key: bool = True) -> None:
        certificate, secret = parts(pem)
        self.certificate.write_text(certificate)
        if key:
            self.key.write_text(secret)


@contextlib.asynccontextmanager
async def secure(port: int, pem: Path = FIRST, host: str = "localhost") -> AsyncIterator[Client]:
    """Open a connection that trusts one certificate only."""
    context = ssl.create_default_context(cafile=pem)
    context.set_alpn_protocols(["h2", "http/1.1"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=host
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def secured(folder: Path, files: Files, limits: Limits | None = None) -> AsyncIterator[Relay]:
    authority = AuthorityFolder(folder / "ca", random=secrets.token_bytes, time=time.time)
    trust = Trust(lambda _: None, lambda *_: False, lambda _: None)
    made = tls.Tls(files.listen, tls.HTTP, authority, trust, time.time)
    async with (
        running_relay(folder, limits or Limits(), tls=made.context) as relay,
        service(echo()) as url,
    ):
        await relay.method("Echo/say", f"{url}/")
        watching = asyncio.ensure_future(made.watch())
        try:
            yield relay
        finally:
            watching.cancel()


async def test_calls_over_tls(tmp_path: Path):
    async with secured(tmp_path, Files(tmp_path, FIRST)) as relay:
        for host in ("localhost", "127.0.0.1"):
            async with secure(relay.port, host=host) as client:
                chosen = client.writer.get_extra_info("ssl_object")
                assert chosen.selected_alpn_protocol() == "http/1.1"
                for body in (b"x", b"y" * 1_000_000):
                    answer = await client.ask(relay.request("/Echo/say", body, close=False))
                    assert (answer.code, answer.body) == (200, body)
                answer = await client.ask(relay.request("/Echo/say", b"end"))
                assert answer.get(b"connection") == b"close"
                assert await client.ended() == b""


async def test_a_refusal_can_be_read_over_tls(tmp_path: Path):
    """TLS has no half-closed connections: the listener lingers all the same."""
    async with secured(tmp_path, Files(tmp_path, FIRST)) as relay, secure(relay.port) as client:
        client.send(relay.request("/No/x", b"x" * 5_000_000, close=False))
        with contextlib.suppress(ConnectionError):
            await client.writer.drain()
        answer = await client.answer()
        assert answer.code == 404
        assert problem_of(answer)["detail"]


async def test_a_vanished_client_over_tls(tmp_path: Path):
    gone = asyncio.Event()
    asked = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        gone.set()

    async with secured(tmp_path, Files(tmp_path, FIRST)) as relay, service(wait) as url:
        await relay.method("Wait/here", f"{url}/")
        async with secure(relay.port) as client:
            client.send(relay.request("/Wait/here", b"", close=False))
            await asyncio.wait_for(asked.wait(), 3)
        await asyncio.wait_for(gone.wait(), 3)


async def test_who_does_not_finish_the_handshake_is_left(tmp_path: Path):
    limits = Limits(head_seconds=0.4)
    async with secured(tmp_path, Files(tmp_path, FIRST), limits) as relay:
        async with connected(relay.port) as silent, connected(relay.port) as plain:
            plain.send(relay.request("/Echo/say", b"secret"))
            assert b"200" not in await plain.ended()
            assert await silent.ended() == b""
        async with secure(relay.port) as client:
            assert (await client.ask(relay.request("/Echo/say", b"x"))).code == 200


async def serial(port: int) -> int:
    """Return the serial number of the certificate that is served."""
    for number, pem in enumerate((FIRST, SECOND), 1):
        with contextlib.suppress(ssl.SSLError):
            async with secure(port, pem, host="127.0.0.1"):  # so that no name is indicated (SNI)
                return number
    raise AssertionError("neither certificate is served")


async def becomes(port: int, number: int) -> None:
    for _ in range(60):
        if await serial(port) == number:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"certificate {number} is not served")


async def test_a_certificate_is_replaced_while_traffic_flows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """What does not load changes nothing: the key may be written after the certificate."""
    monkeypatch.setattr(tls, "WATCH_SECONDS", 0.05)
    files = Files(tmp_path, FIRST)
    async with secured(tmp_path, files) as relay, secure(relay.port) as old:
        assert await serial(relay.port) == 1
        files.put(SECOND, key=False)
        async with asyncio.timeout(10):
            while "what was loaded goes on" not in caplog.text:  # noqa: ASYNC110 (a log)
                await asyncio.sleep(0.02)
        assert await serial(relay.port) == 1
        files.put(SECOND)
        await becomes(relay.port, 2)
        files.certificate.write_text("rubbish")
        await asyncio.sleep(0.2)
        assert await serial(relay.port) == 2
        files.certificate.unlink()
        await asyncio.sleep(0.2)
        assert await serial(relay.port) == 2
        files.put(FIRST)
        await becomes(relay.port, 1)
        answer = await old.ask(relay.request("/Echo/say", b"still here", close=False))
        assert answer.body == b"still here"


@contextlib.asynccontextmanager
async def secure_service(talk: Talk, pem: Path) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_endpoints_are_authenticated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their certificate must be valid for the host of their URL."""
    monkeypatch.setenv("SSL_CERT_FILE", str(FIRST))
    async with (
        running_relay(tmp_path, upstream=Upstream(connect=0.5)) as relay,
        secure_service(echo(), FIRST) as trusted,
        secure_service(echo(), SECOND) as unknown,
        service(echo()) as plain,
    ):
        await relay.method("Echo/say", f"https://localhost:{trusted}/")
        await relay.method("Fake/say", f"https://localhost:{unknown}/")
        await relay.method("Other/say", f"https://127.0.0.2:{trusted}/")
        await relay.method("Plain/say", plain.replace("http", "https"))
        async with connected(relay.port) as client:
            for _ in range(2):
                answer = await client.ask(relay.request("/Echo/say", b"x", close=False))
                assert (answer.code, answer.body) == (200, b"x")
            for target, why in [
                ("/Fake/say", "certificate verify failed"),
                ("/Other/say", "certificate verify failed|cannot connect"),
                ("/Plain/say", "did not answer the connection in time"),
            ]:
                answer = await client.ask(relay.request(target, b"x", close=False))
                assert answer.code == 503
                detail = str(problem_of(answer)["detail"])
                assert any(word in detail for word in why.split("|")), detail
