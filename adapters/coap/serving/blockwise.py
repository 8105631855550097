"""Block-wise transfers: payloads that do not fit one message (RFC 7959). Pure.

Both sides of a transfer are kept per client and by what the request asks for (its cache key).
"""

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

from adapters.coap.serving.asked import Block
from adapters.coap.wire import options as o
from adapters.coap.wire.options import Options, ordered, uint_value

LIFETIME: Final = 247.0
"""Seconds for which an unfinished transfer is kept: EXCHANGE_LIFETIME (RFC 7252 section 4.8.2)."""
TRANSFERS: Final = 8
"""Transfers that one client may have at the same time in each direction; the oldest gives way."""
TOTAL: Final = 32 * 1024 * 1024
"""Bytes of all clients' transfers; the oldest give way."""

Key: TypeAlias = tuple[int, bytes]
"""A request's code and cache key."""


Transfer = TypeVar("Transfer", "Upload", "Kept")


class Owner(Protocol):
    """Whose transfer it is."""

    uploads: "dict[Key, Upload]"
    downloads: "dict[Key, Kept]"


class Incomplete(Exception):
    """A block came that does not follow what came before."""


class TooLarge(Exception):
    """A payload is larger than it may be."""


class Upload:
    """A payload that is on its way."""

    __slots__ = ("owner", "parts", "size", "used")

    def __init__(self, owner: Owner, now: float) -> None:
        self.owner = owner
        self.parts: list[bytes] = []
        self.size = 0
        self.used = now


class Kept:
    """A whole answer that is fetched block by block.

    ``asked`` is the digest of the request's payload, so that a client that has to send its
    request again, because it had to show where it is, gets this answer and no second call.
    """

    __slots__ = ("asked", "challenged", "code", "etag", "options", "owner", "payload", "used")

    def __init__(
        self, owner: Owner, code: int, options: Options, payload: bytes, etag: bytes, now: float
    ) -> None:
        self.owner = owner
        self.code = code
        self.options = options
        self.payload = payload
        self.etag = etag
        self.used = now
        self.asked = b""
        self.challenged = False


class Piece(NamedTuple):
    """One block of an answer, ready to be sent."""

    options: Options
    payload: bytes


class Transfers:
    """All transfers of a listener, within their bounds."""

    def __init__(self, limit: int, total: int = TOTAL) -> None:
        self._limit = limit
        self._total = total
        self.held = 0
        """Bytes that are kept now."""
        self._uploads: dict[Upload, Key] = {}
        self._downloads: dict[Kept, Key] = {}

    def add(
        self, owner: Owner, key: Key, block: Block, payload: bytes, declared: int, now: float
    ) -> bytes | None:
        """Take a block; return the whole payload after the last one, None before.

        Raises Incomplete (RFC 7959 section 2.9.2) and TooLarge (2.9.3).
        """
        if block.number == 0:
            self._end_upload(owner.uploads.get(key))
            _make_room(owner.uploads, self._end_upload)
            upload = owner.uploads[key] = Upload(owner, now)
            self._uploads[upload] = key
        else:
            found = owner.uploads.get(key)
            if found is None or found.size != block.number * block.size:
                raise Incomplete
            upload = found
        if len(payload) > block.size or (block.more and len(payload) != block.size):
            self._end_upload(upload)
            raise Incomplete
        if max(upload.size + len(payload), declared) > self._limit:
            self._end_upload(upload)
            raise TooLarge
        upload.parts.append(payload)
        upload.size += len(payload)
        upload.used = now
        self.held += len(payload)
        if not block.more:
            whole = b"".join(upload.parts)
            self._end_upload(upload)
            return whole
        self._shrink(upload)
        return None

    def keep(self, kept: Kept, key: Key) -> None:
        """Keep an answer until its blocks are fetched."""
        owner = kept.owner
        self._end_download(owner.downloads.get(key))
        _make_room(owner.downloads, self._end_download)
        owner.downloads[key] = kept
        self._downloads[kept] = key
        self.held += len(kept.payload)
        self._shrink(kept)

    def find(self, owner: Owner, key: Key, now: float) -> Kept | None:
        """Return the answer that is kept for a request."""
        kept = owner.downloads.get(key)
        if kept is not None:
            kept.used = now
        return kept

    def forget(self, owner: Owner) -> None:
        """End all transfers of a client."""
        for upload in tuple(owner.uploads.values()):
            self._end_upload(upload)
        for kept in tuple(owner.downloads.values()):
            self._end_download(kept)

    def forget_answers(self) -> None:
        """Drop all answers: who may have them may have changed."""
        for kept in tuple(self._downloads):
            self._end_download(kept)

    def sweep(self, now: float) -> None:
        """End what nobody went on with."""
        for upload in [one for one in self._uploads if one.used + LIFETIME <= now]:
            self._end_upload(upload)
        for kept in [one for one in self._downloads if one.used + LIFETIME <= now]:
            self._end_download(kept)

    def _shrink(self, newest: Upload | Kept) -> None:
        while self.held > self._total:
            upload = next(iter(self._uploads), None)
            kept = next(iter(self._downloads), None)
            if kept is not None and kept is not newest:
                self._end_download(kept)
            elif upload is not None and upload is not newest:
                self._end_upload(upload)
            else:
                return

    def _end_upload(self, upload: Upload | None) -> None:
        key = None if upload is None else self._uploads.pop(upload, None)
        if upload is not None and key is not None:
            self.held -= upload.size
            del upload.owner.uploads[key]

    def _end_download(self, kept: Kept | None) -> None:
        key = None if kept is None else self._downloads.pop(kept, None)
        if kept is not None and key is not None:
            self.held -= len(kept.payload)
            del kept.owner.downloads[key]


def piece(kept: Kept, block: Block) -> Piece | None:
    """Return one block of an answer, None when it has no such block."""
    begin = block.number * block.size
    if begin >= len(kept.payload) and block.number:
        return None
    part = kept.payload[begin : begin + block.size]
    more = begin + len(part) < len(kept.payload)
    options = [*kept.options, (o.BLOCK2, Block(block.number, more, block.exponent).value())]
    if kept.etag:
        options.append((o.ETAG, kept.etag))
    if block.number == 0:
        options.append((o.SIZE2, uint_value(len(kept.payload))))
    return Piece(ordered(options), part)


def _make_room(table: dict[Key, Transfer], end: Callable[[Transfer], None]) -> None:
    if len(table) >= TRANSFERS:
        end(next(iter(table.values())))
