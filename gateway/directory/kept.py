"""The index on disk: N-Quads that any tool reads, and in comments what they were made of.

It only saves time. What does not fit (damaged, of another form or of other ontologies) is left
aside; what is of objects that have changed is indexed anew.
"""

import logging
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, TypeAlias

import msgspec

from registry.index.index import N_QUADS, Index, Print
from registry.index.rdf import Quad, parsed, rendered
from registry.names import Name

log = logging.getLogger("hilum.index")

HEAD = b"# hilum index "


Extra: TypeAlias = Mapping[Name, tuple[Quad, ...]]
"""What extension vocabularies say of objects."""


def write(file: Path, index: Index, extra: Extra) -> None:
    """Write an index beside, then put it in place in one step. Raises OSError."""
    fresh = file.with_name(f"{file.name}.new")
    texts = {name: rendered(quads, N_QUADS).decode() for name, quads in extra.items()}
    made_of = msgspec.json.encode(_MadeOf(index.digest, len(index), index.prints(), texts))
    with fresh.open("wb") as output:
        os.fchmod(output.fileno(), 0o600)
        output.write(HEAD + b"0" * 64 + b"\n")
        body = _Digested(output)
        body.write(b"# " + made_of + b"\n")
        index.dump(body)  # type: ignore[arg-type]  # it only writes
        output.seek(len(HEAD))
        output.write(body.digest())
        output.flush()
        os.fsync(output.fileno())
    fresh.replace(file)


def read(file: Path, like: Index) -> tuple[Index, Extra] | None:
    """Return the index that a file holds, and what extends it; None when none fits.

    ``like`` is an index of the same ontologies.
    """
    try:
        data = file.read_bytes()
    except OSError:
        return None
    try:
        return _read(data, like)
    except ValueError as error:
        log.warning("%s is not used, the index is built anew: %s", file, error)
        return None


def _read(data: bytes, like: Index) -> tuple[Index, Extra]:
    start = len(HEAD) + 65
    if not data.startswith(HEAD) or data[start - 1 : start] != b"\n":
        raise ValueError("this is no index")
    body = memoryview(data)[start:]
    if sha256(body).hexdigest().encode() != data[len(HEAD) : start - 1]:
        raise ValueError("it is damaged")
    end = data.find(b"\n", start)
    made_of = msgspec.json.decode(data[start + 2 : end], type=_MadeOf)
    if made_of.ontologies != like.digest:
        raise ValueError("the ontologies have changed")
    index = Index()
    index.adopt(data, made_of.objects, like, made_of.size)
    texts = made_of.extra.items()
    return index, {name: tuple(parsed(text.encode(), N_QUADS)) for name, text in texts}


class _MadeOf(msgspec.Struct):
    ontologies: str
    size: int
    objects: dict[Name, Print]
    extra: dict[Name, str]


class _Digested:
    """Writes on, and remembers what was written."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._sum = sha256()

    def write(self, data: bytes) -> int:
        self._sum.update(data)
        return self._output.write(data)

    def flush(self) -> None:
        self._output.flush()

    def digest(self) -> bytes:
        return self._sum.hexdigest().encode()
