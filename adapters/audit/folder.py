"""The folder of an audit log: files of records, oldest first, and the head beside them."""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.seeing.chain import LONGEST, START, Finding, Head, Sealed, Verifier, head_of, read

HEAD = "head"
CHANGES = "changes "
_FILE = re.compile(r"audit-([0-9]{18})\.jsonl")


def file_name(seq: int) -> str:
    """Return what the file that begins with record ``seq`` is called: names sort as records do."""
    return f"audit-{seq:018d}.jsonl"


def files(folder: Path) -> list[Path]:
    """Return the files of the log, the oldest first."""
    return sorted(path for path in folder.iterdir() if _FILE.fullmatch(path.name))


def first_of(path: Path) -> int:
    """Return the number of the record that a file begins with, as its name says."""
    return int(path.stem.removeprefix("audit-"))


def read_head(folder: Path) -> Head | None:
    """Return the head that was kept when the log was last written; None: it is not there.

    Raises ValueError when it cannot be read as one.
    """
    try:
        with (folder / HEAD).open("rb") as file:
            return head_of(file.readline(128).decode("ascii", "replace"))
    except FileNotFoundError:
        return None


def read_changes(folder: Path) -> int:
    """Return the entry of the change log that was recorded last, 0 when nothing says it."""
    try:
        text = (folder / HEAD).read_text("ascii", "replace").splitlines()[1]
        return int(text.removeprefix(CHANGES))
    except (OSError, IndexError, ValueError):
        return 0


def write_head(folder: Path, head: Head, changes: int = 0) -> None:
    """Replace the head in one step; only its owner may read it."""
    partial = folder / f"{HEAD}.new"
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{head}\n{CHANGES}{changes}\n".encode())
    finally:
        os.close(descriptor)
    partial.replace(folder / HEAD)


def lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file without their ends; one that is too long comes cut."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST + 1):
            yield line.removesuffix(b"\n")


class Verdict(NamedTuple):
    """What a verification found: nothing in ``findings`` means that the chain is whole."""

    records: int
    first: int
    head: Head
    findings: list[Finding]
    more: int
    files: int


def verify(folder: Path, anchors: Iterable[Head] = ()) -> Verdict:
    """Read a whole log and judge it; the head beside it is an anchor too. Raises OSError."""
    kept = list(anchors)
    unreadable = ""
    try:
        own = read_head(folder)
    except ValueError as error:
        own, unreadable = None, str(error)
    if own is not None and own.seq:
        kept.insert(0, own)
    verifier = Verifier(kept)
    there = files(folder)
    for path in there:
        for number, line in enumerate(lines(path), 1):
            verifier.feed(line, f"{path.name} line {number}")
    findings = verifier.end(str(folder))
    if unreadable:
        findings.append(Finding("damaged", str(folder / HEAD), unreadable))
    elif own is None and verifier.records:
        why = "the head is not there: whether the newest records are cannot be said"
        findings.append(Finding("truncated", str(folder / HEAD), why))
    first = 0 if verifier.first is None else verifier.first.seq
    return Verdict(verifier.records, first, verifier.last, findings, verifier.more, len(there))


def newest(folder: Path, count: int) -> list[Sealed]:
    """Return the last ``count`` records that can be read, the oldest first."""
    found: deque[Sealed] = deque()
    for path in reversed(files(folder)):
        here: deque[Sealed] = deque(maxlen=count - len(found))
        here.extend(record for record in map(read, lines(path)) if record is not None)
        found.extendleft(reversed(here))
        if len(found) >= count:
            break
    return list(found)


class Ending(NamedTuple):
    """How a log ends: where to go on, how many bytes are a torn record, what is wrong with it."""

    head: Head
    whole: int
    torn: int
    wrong: str


def ending(folder: Path) -> Ending:
    """Find where a log goes on after the process that wrote it ended, however it ended.

    Where the kept head names records that are not there any more, or the last record is not
    what it was, the chain goes on behind the head: so ``verify`` goes on telling of it.
    """
    try:
        kept = read_head(folder) or START
    except ValueError:
        kept = START
    there = files(folder)
    if not there:
        wrong = f"its files are gone; there were {kept.seq} records" if kept.seq else ""
        return Ending(kept, 0, 0, wrong)
    whole, torn, last = _last_line(there[-1])
    begins = first_of(there[-1])
    if last is None and whole == 0 and torn < LONGEST and kept.seq == begins - 1:
        return Ending(kept, 0, torn, "")  # it ended while it began the file
    record = None if last is None else read(last)
    if record is None or not record.intact:
        seq = max(kept.seq, begins, 0 if record is None else record.seq)
        return Ending(Head(seq, kept.hash), whole, 0, "its last record was changed")
    if record.seq < kept.seq:
        wrong = f"it ends with record {record.seq}, but there was a record {kept.seq}"
        return Ending(kept, whole, 0, wrong)
    return Ending(Head(record.seq, record.hash), whole, torn, "")


def _last_line(path: Path) -> tuple[int, int, bytes | None]:
    """Return the bytes of a file's whole lines, those behind them, and the last whole line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        begin = file.seek(max(0, size - 2 * LONGEST))
        data = file.read()
    end = data.rfind(b"\n") + 1
    if not end:
        return begin, size - begin, None
    return begin + end, len(data) - end, data[data.rfind(b"\n", 0, end - 1) + 1 : end - 1]
