"""Writes the audit log from a thread: records wait in a bounded ring until they are synced."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from adapters.audit.folder import (
    Ending,
    ending,
    file_name,
    files,
    first_of,
    lines,
    read_changes,
    write_head,
)
from gateway.seeing.chain import Head, read, seal

log = logging.getLogger("hilum.audit")

BATCH_SECONDS = 0.2
"""How long a record waits for others at most, before they are written and synced together."""
RETRY_SECONDS = 1.0
"""How long the writer waits when the disk does not take a record."""
LOT = 1000
"""Records that are written and synced together at most."""
ANCHOR_SECONDS = 3600.0
"""How often the head is told in the program's log, to be kept elsewhere."""

Body = Mapping[str, object]


class Sizes(NamedTuple):
    """``file`` is bytes of one file, ``files`` how many are kept, ``ring`` records that wait."""

    file: int = 16 * 1024 * 1024
    files: int = 64
    ring: int = 8192


DEFAULT = Sizes()


class AuditWriter:
    """Appends records to the log in ``folder``; ``note`` may be called from one thread.

    ``lost`` counts records that found the ring full; where they are missing, the log has a
    ``gap`` record. ``failing`` says whether the disk takes records now; ``changed`` is told, in
    the writer's thread, when that changes.
    """

    def __init__(
        self,
        folder: Path,
        sizes: Sizes = DEFAULT,
        changed: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.lost = 0
        self.written = 0
        self.failing = False
        self.head: Head
        self.changes = 0
        """The last entry of the change log that is recorded; one may be recorded twice."""
        self._folder = folder
        self._sizes = sizes
        self._changed = changed
        self._ring: deque[tuple[int, Body]] = deque()
        self._lot: list[tuple[int, Body]] = []
        self._told_lost = 0
        self._descriptor = -1
        self._size = 0
        self._stale = False  # whether the head on disk is an older one
        self._anchored = time.monotonic()
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)

    def start(self) -> None:
        """Find where the log ends, and begin to write; raises OSError."""
        folder = self._folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = ending(folder)
        self.head = found.head
        self.changes = read_changes(folder)
        there = files(folder)
        if there and not found.wrong:  # else it goes on in a new file, and this one stays as it is
            self._descriptor = os.open(there[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._size = found.whole
            if found.torn:
                os.ftruncate(self._descriptor, found.whole)
        if found.wrong:
            log.error("the audit log in %s is not whole: %s", folder, found.wrong)
        self.note(_start(found))
        self._wake.set()
        self._thread.start()

    def note(self, body: Body) -> None:
        """Take a record; it is on disk a moment later, or counted as lost. Never blocks."""
        if len(self._ring) >= self._sizes.ring:
            self.lost += 1
        else:
            self._ring.append((time.time_ns() // 1_000_000, body))

    @property
    def waiting(self) -> int:
        """How many records are not yet written."""
        return len(self._ring) + len(self._lot)

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, and end; what the disk does not take in time is lost."""
        self.note({"event": "stop"})
        self._ending = True
        self._wake.set()
        self._thread.join(seconds)
        if self.waiting:
            log.error("%d audit records could not be written", self.waiting)

    # In the writer's thread

    def _run(self) -> None:
        while not self._ending or self.waiting:
            self._wake.wait(RETRY_SECONDS if self.failing else BATCH_SECONDS)
            self._wake.clear()
            try:
                self._write()
            except OSError as error:
                self._fail(error)
                if self._ending:
                    break
            else:
                self._recover()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._anchor(0.0)

    def _write(self) -> None:
        """Write all that waits, in lots."""
        while self._fill():
            self._rotate()
            self._append()
        if self._stale:
            write_head(self._folder, self.head, self.changes)
            self._stale = False
        self._anchor(ANCHOR_SECONDS)

    def _fill(self) -> bool:
        """Take the next lot from the ring; return False when there is nothing to write."""
        lot, ring = self._lot, self._ring
        lost = self.lost
        if lost > self._told_lost and not lot:
            lot.append((_now(), {"event": "gap", "lost": lost - self._told_lost}))
            self._told_lost = lost
        while ring and len(lot) < LOT:
            lot.append(ring.popleft())
        return bool(lot)

    def _append(self) -> None:
        """Write the lot and sync it."""
        head, parts = self.head, []
        for at, body in self._lot:
            line, head = seal(head, at, body)
            parts.append(line)
            seq = body.get("log", 0)
            if isinstance(seq, int):
                self.changes = max(self.changes, seq)
        self._put(b"".join(parts), head)
        self.written += len(self._lot)
        self._lot = []

    def _put(self, data: bytes, head: Head) -> None:
        """Append whole records; on an error the file is as long as it was before."""
        try:
            _write_all(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)
        self.head = head
        self._stale = True

    def _rotate(self) -> None:
        """Begin a new file when there is none or the last one is long enough."""
        if self._descriptor >= 0 and self._size < self._sizes.file:
            return
        path = self._folder / file_name(self.head.seq + 1)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._size = descriptor, os.fstat(descriptor).st_size
        _sync_folder(self._folder)
        self._prune()

    def _prune(self) -> None:
        """Delete the oldest files; a record that is synced before says where the log begins."""
        there = files(self._folder)
        old = there[: -self._sizes.files]
        if not old:
            return
        first = there[len(old)]
        line = next(lines(first), b"")
        record = read(line)
        before = "" if record is None else record.prev
        body = {"event": "pruned", "first": first_of(first), "before": before}
        data, head = seal(self.head, _now(), body)
        self._put(data, head)
        write_head(self._folder, head, self.changes)  # before what it was may be gone
        for path in old:
            path.unlink()

    def _fail(self, error: OSError) -> None:
        if not self.failing:
            self.failing = True
            log.error("the audit log cannot be written, records wait: %s", error.strerror)
            self._changed(True)

    def _recover(self) -> None:
        if self.failing:
            self.failing = False
            log.warning("the audit log is written again; %d records were lost", self.lost)
            self._changed(False)

    def _anchor(self, seconds: float) -> None:
        """Tell the head, which proves later that no record up to here is gone or other."""
        now = time.monotonic()
        if now - self._anchored >= seconds and self.head.seq:
            self._anchored = now
            log.info("the audit log's head is %s", self.head)


def _start(found: Ending) -> Body:
    body: dict[str, object] = {"event": "start"}
    if found.torn:
        body["torn"] = found.torn
    if found.wrong:
        body["wrong"] = found.wrong
    return body


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _now() -> int:
    return time.time_ns() // 1_000_000
