"""Asks other servers over HTTP: bounded in time and size, in a thread, without redirects."""

import asyncio
import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from gateway.web import Answer, FetchError

SECONDS: Final = 10.0
"""For everything: the name, the connection, the whole answer."""
BYTES: Final = 256 * 1024
THREADS: Final = 4
"""Questions at the same time; the others wait."""


class Client(NamedTuple):
    """How we show who we are: a certificate and its key, PEM files."""

    certificate: Path
    key: Path


class Limits(NamedTuple):
    """What an answer may take: ``seconds`` in all, ``bytes`` of its body."""

    seconds: float = SECONDS
    bytes: int = BYTES


class Fetcher:
    """Asks servers. ``ca`` is a file of authorities, None: those of the system."""

    def __init__(
        self,
        ca: Path | None = None,
        seconds: float = SECONDS,
        size: int = BYTES,
        client: Client | None = None,
    ) -> None:
        self._ca = ca
        self._client = client
        self._limits = Limits(seconds, size)
        self._pool = ThreadPoolExecutor(THREADS, "hilum-fetch")

    async def get(self, url: str) -> bytes:
        """Return a document; raises FetchError unless the answer is 200."""
        answer = await self.ask("GET", url, {"Accept": "application/json"})
        if answer.status != 200:
            raise FetchError(f"{url} answers {answer.status}")
        return answer.body

    async def ask(
        self, verb: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Make a request; raises FetchError."""
        question = _Question(verb, url, headers, body, self._tls, self._limits)
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._pool, question.run)
        try:
            return await asyncio.wait_for(asked, self._limits.seconds)
        except TimeoutError:
            late = f"{url} does not answer within {self._limits.seconds:g} s"
            raise FetchError(late) from None
        finally:
            question.abandon()

    def _tls(self) -> ssl.SSLContext:
        """Return the context of one question: files that were renewed count from now on."""
        context = ssl.create_default_context(cafile=self._ca)
        if self._client is not None:
            context.load_cert_chain(self._client.certificate, self._client.key)
        return context

    def close(self) -> None:
        """End the threads; no question is under way any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Question:
    """One request; the loop's thread may ``abandon`` it, which ends the thread's wait."""

    def __init__(
        self,
        verb: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        tls: Callable[[], ssl.SSLContext],
        limits: Limits,
    ) -> None:
        self._verb = verb
        self._url = url
        self._headers = {"User-Agent": "hilum", **headers}
        self._body = body
        self._tls = tls
        self._limits = limits
        self._connection: http.client.HTTPConnection | None = None
        self._abandoned = False

    def run(self) -> Answer:
        try:
            return self._run()
        except TimeoutError as error:
            late = f"{self._url} does not answer within {self._limits.seconds:g} s"
            raise FetchError(late) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchError(f"{self._url} cannot be asked: {error or type(error)}") from error

    def abandon(self) -> None:
        self._abandoned = True
        sock = getattr(self._connection, "sock", None)
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> Answer:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "", parts.port
        seconds = self._limits.seconds
        make = partial(http.client.HTTPConnection, host, port, timeout=seconds)
        if parts.scheme == "https":
            secured = http.client.HTTPSConnection
            make = partial(secured, host, port, timeout=seconds, context=self._tls())
        connection = self._connection = make()
        try:
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            connection.request(self._verb, target, self._body or None, self._headers)
            with connection.getresponse() as response:
                return Answer(response.status, self._read(response))
        finally:
            connection.close()

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while piece := response.read1(64 * 1024):
            body += piece
            if len(body) > self._limits.bytes:
                raise FetchError(f"{self._url} answers more than {self._limits.bytes} bytes")
            if self._abandoned:
                raise FetchError(f"{self._url} takes too long")
        return bytes(body)
