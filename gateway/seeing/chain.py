"""The audit log's records: lines of JSON, each with the SHA-256 of the one before. Pure.

A line ends with ``"prev":"…","hash":"…"}``: ``prev`` is the hash of the record before, ``hash``
is over the line's bytes up to itself. So a record that was changed is told from one that is gone.
Who can write the file can make all hashes from some record on anew: only a head that was kept
elsewhere (``Head``) shows that (decision 0039).
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec

GENESIS: Final = "0" * 64
"""What the first record of all has as ``prev``."""
LONGEST: Final = 16 * 1024
"""Bytes of a record, its line end included."""
TEXT: Final = 512
"""Characters of one text in a record; the rest is cut."""
TOLD: Final = 100
"""Findings of one verification that are told; the others are counted."""

_TAIL = re.compile(rb'"prev":"([0-9a-f]{64})","hash":"([0-9a-f]{64})"}')
_TAIL_BYTES: Final = 2 * 64 + len(b'"prev":"","hash":""}')
_HASH_BYTES: Final = 64 + len(b'"hash":""}') + 1


class Head(NamedTuple):
    """A place in the chain: the number of a record and its hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


START: Final = Head(0, GENESIS)
_HEAD = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


def head_of(text: str) -> Head:
    """Read what ``str`` of a Head gives; raises ValueError."""
    match = _HEAD.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{clean(text)!r} is no head: write NUMBER:SHA256 as it was printed")
    return Head(int(match[1]), match[2])


class Sealed(NamedTuple):
    """A record that was read: ``body`` without number, time and hashes; ``time`` is Unix ms.

    ``intact`` says whether its own hash is right.
    """

    seq: int
    time: int
    prev: str
    hash: str
    body: dict[str, Any]
    intact: bool


def clean(value: object) -> Any:
    """Return a value as a record may hold it: no control characters, nothing too long."""
    if isinstance(value, str):
        cut = value if len(value) <= TEXT else f"{value[:TEXT]}…"
        return cut if cut.isprintable() else "".join(map(_visible, cut))
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(one) for key, one in [*value.items()][:32]}
    if isinstance(value, Iterable):
        return [clean(one) for one in [*value][:32]]
    return clean(str(value))


def seal(before: Head, time: int, body: Mapping[str, object]) -> tuple[bytes, Head]:
    """Return the line of the record that follows ``before``, and the head that it is.

    A record that would be too long keeps only its event and says that it was cut.
    """
    seq = before.seq + 1
    line = _line(seq, time, before.hash, clean(body))
    if len(line) + _HASH_BYTES > LONGEST:
        short = {"event": clean(body.get("event", "")), "cut": len(line)}
        line = _line(seq, time, before.hash, short)
    own = sha256(line).hexdigest()
    return line + b'"hash":"' + own.encode() + b'"}\n', Head(seq, own)


def read(line: bytes) -> Sealed | None:
    """Read a line without its line end; None for what is no record at all."""
    match = _TAIL.fullmatch(line, max(0, len(line) - _TAIL_BYTES))
    if match is None or len(line) >= LONGEST:
        return None
    try:
        body = msgspec.json.decode(line, type=dict[str, Any])
    except (ValueError, RecursionError):
        return None
    seq, time = body.pop("seq", None), body.pop("time", None)
    if type(seq) is not int or type(time) is not int or seq < 1:
        return None
    del body["prev"], body["hash"]
    prev, own = match[1].decode(), match[2].decode()
    intact = sha256(line[: 1 - _HASH_BYTES]).hexdigest() == own
    return Sealed(seq, time, prev, own, body, intact)


class Finding(NamedTuple):
    """What is wrong with the chain, and where (``where`` is a file and line)."""

    kind: str
    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: {self.why}"


class Verifier:
    """Reads a chain from its oldest record that is kept to its newest.

    ``anchors`` are heads that were kept elsewhere. ``findings`` are in the order of the log; the
    first one is the first record that is wrong.
    """

    def __init__(self, anchors: Iterable[Head] = ()) -> None:
        self.records = 0
        self.first: Head | None = None
        self.last = START
        self.more = 0
        """Findings that are not told."""
        self._anchors = {head.seq: head for head in anchors}
        self._seen: set[int] = set()
        self._missing: dict[int, int] = {}  # the first and last number of each gap
        self._findings: list[tuple[Finding, int]] = []  # with the gap that it is about, or 0
        self._pruned: dict[int, str] = {}

    def feed(self, line: bytes, where: str) -> Sealed | None:
        """Take the next line; return the record that it is."""
        record = read(line)
        if record is None:
            self._find("damaged", where, "this is no record: the line was changed or cut")
            return None
        self.records += 1
        if record.intact and record.body.get("event") == "pruned":
            self._pruned[_number(record.body.get("first"))] = str(record.body.get("before"))
        self._place(record, where)
        return record

    def end(self, where: str) -> list[Finding]:
        """Return all findings; nothing more is fed. ``where`` is what the folder is called."""
        self._beginning(where)
        for anchor in self._anchors.values():
            if anchor.seq > self.last.seq:
                why = (
                    f"the log ends with record {self.last.seq}, but there was a record {anchor.seq}"
                )
                self._find("truncated", where, why)
        return [self._told(finding, gap) for finding, gap in self._findings]

    def _place(self, record: Sealed, where: str) -> None:
        """Judge a record by the one before it."""
        seq, expected = record.seq, self.last.seq + 1
        if not record.intact:
            self._find("changed", where, f"record {seq} is not what it was: its hash is wrong")
        elif seq in self._anchors and self._anchors[seq].hash != record.hash:
            why = f"record {seq} was made anew: the head that was kept has another hash"
            self._find("replaced", where, why)
        if self.first is None:
            self.first = Head(seq, record.prev)
        elif seq < expected:
            self._late(seq, where)
            return
        elif seq > expected:
            if len(self._missing) < TOLD:
                self._missing[expected] = seq - 1
            self._find("removed", where, "", gap=expected)
        elif record.prev != self.last.hash and record.intact:
            why = f"record {seq} does not follow record {seq - 1}: one of them was made anew"
            self._find("replaced", where, why)
        self.last = Head(seq, record.hash)

    def _late(self, seq: int, where: str) -> None:
        """Judge a record whose number has been passed already."""
        if any(first <= seq <= last for first, last in self._missing.items()):
            self._seen.add(seq)
            self._find("reordered", where, f"record {seq} stands behind record {self.last.seq}")
        else:
            self._find("inserted", where, f"there is a record {seq} already")

    def _beginning(self, where: str) -> None:
        """Judge what the log begins with: older records went by retention, or were removed."""
        first = self.first
        if first is None:
            return
        expected = GENESIS if first.seq == 1 else self._pruned.get(first.seq)
        if expected is None:
            why = f"the log begins with record {first.seq}, and nothing says that retention did it"
            self._findings.insert(0, (Finding("removed", where, why), 0))
        elif expected != first.hash:
            why = f"record {first.seq} does not follow what was before it: one was made anew"
            self._findings.insert(0, (Finding("replaced", where, why), 0))

    def _find(self, kind: str, where: str, why: str, gap: int = 0) -> None:
        if len(self._findings) < TOLD:
            self._findings.append((Finding(kind, where, why), gap))
        else:
            self.more += 1

    def _told(self, finding: Finding, gap: int) -> Finding:
        """Say of a gap whether what is missing stands elsewhere."""
        if not gap:
            return finding
        last = self._missing.get(gap, gap)
        there = any(gap <= seq <= last for seq in self._seen)
        some = f"record {gap} is" if gap == last else f"records {gap} to {last} are"
        if there:
            return finding._replace(kind="reordered", why=f"{some} not in place, but further on")
        return finding._replace(why=f"{some} missing before this one")


def _line(seq: int, time: int, prev: str, body: Mapping[str, object]) -> bytes:
    """Return a record up to its own hash."""
    text = msgspec.json.encode({"seq": seq, "time": time, **body, "prev": prev})
    return text[:-1] + b","


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "replace").decode()


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
