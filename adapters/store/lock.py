"""One process per file: a lock that dies with its holder, and a mark of what it acknowledged."""

import contextlib
import fcntl
import os
from pathlib import Path

from gateway.ports import StoreError


class FileLock:
    """An exclusive flock(2) on a file that holds the owner's PID and a high-water mark.

    flock belongs to the open file, so a second open in the same process is refused as well, and
    the kernel drops it when the process dies, however it dies. The file itself stays: unlinking
    a lock file lets two processes lock two different files of one name.
    """

    def __init__(self, path: Path, guarded: Path) -> None:
        """Take the lock; StoreError names the process that has it."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid, _ = self._read()
            os.close(self._fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise StoreError(f"{guarded} is in use by process {pid or '(unknown)'}") from None
        os.fchmod(self._fd, 0o600)
        _, self.mark = self._read()
        self.set_mark(self.mark)

    def set_mark(self, mark: int) -> None:
        """Remember the last sequence number that was acknowledged.

        It is not synced: it may fall behind when the power fails, but never runs ahead of the
        database, and it outlives a killed process. A database that ends before it lost entries.
        """
        self.mark = mark
        with contextlib.suppress(OSError):  # an old mark only notices less
            os.pwrite(self._fd, f"{os.getpid():10d} {mark:19d}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> tuple[int, int]:
        fields = os.pread(self._fd, 31, 0).split()
        try:
            pid, mark = (int(field) for field in fields)
        except ValueError:  # new, or torn by a power failure
            return 0, 0
        return pid, mark
