"""HTTP on a raw socket, for tests: requests as bytes, replies taken apart and nothing repaired."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple


class Answer(NamedTuple):
    """One reply; names of fields in lower case, their values in order."""

    code: int
    fields: list[tuple[bytes, bytes]]
    body: bytes

    def get(self, name: bytes) -> bytes:
        """Return a field that may be there once; b"" when it is not there."""
        values = [v for n, v in self.fields if n == name]
        assert len(values) <= 1, f"{name!r} is there {len(values)} times"
        return values[0] if values else b""


class Client:
    """One connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(self, data: bytes, *, head: bool = False) -> Answer:
        """Send a request and read its reply."""
        self.send(data)
        return await self.answer(head=head)

    async def answer(self, *, head: bool = False, within: float = 5.0) -> Answer:
        """Read one reply (``head``: of a HEAD request)."""
        async with asyncio.timeout(within):
            code, fields = await self.head()
            return Answer(code, fields, b"" if head else await self._body(code, fields))

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Read the head of a reply."""
        lines = (await self.reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        version, code = lines[0].split(b" ")[:2]
        assert version == b"HTTP/1.1"
        fields = [line.split(b": ", 1) for line in lines[1:]]
        return int(code), [(name.lower(), value) for name, value in fields]

    async def ended(self, within: float = 5.0) -> bytes:
        """Return what else comes until the connection ends."""
        data = b""
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                while more := await self.reader.read(65_536):
                    data += more
        return data

    async def _body(self, code: int, fields: list[tuple[bytes, bytes]]) -> bytes:
        known = dict(fields)
        if code in (204, 304) or code < 200:
            return b""
        if known.get(b"transfer-encoding") == b"chunked":
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            assert await self.reader.readline() == b"\r\n"
            return body
        if b"content-length" in known:
            return await self.reader.readexactly(int(known[b"content-length"]))
        return await self.ended()


@contextlib.asynccontextmanager
async def connected(port: int, host: str = "127.0.0.1") -> AsyncIterator[Client]:
    """Open a connection; it is closed at the end whatever its state."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked payload."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def problem_of(answer: Answer) -> dict[str, object]:
    """Return the problem document of an answer."""
    import json

    assert answer.get(b"content-type") == b"application/problem+json"
    document: dict[str, object] = json.loads(answer.body)
    assert document["status"] == answer.code
    return document


async def until(condition: Callable[[], bool], within: float = 3.0) -> None:
    """Wait for what nobody announces."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
