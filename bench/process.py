"""Processes under measurement: pinned to a core, with their CPU time and memory read from /proc."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

GATEWAY_CORE = 0
LOAD_CORE = 1
"""The other core: load generators and upstreams."""
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"


class MissingProgram(Exception):
    """A program that a measurement needs is not installed; what needs it is left out."""


def find_program(name: str) -> str:
    """Return the path of a program of the system or of the venv; raises MissingProgram."""
    found = shutil.which(name, path=f"{sysconfig.get_path('scripts')}:{_PATH}")
    if found is None:
        raise MissingProgram(f"{name} is not installed")
    return found


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """Return a command that runs on one core only."""
    if core >= (os.cpu_count() or 1):
        return list(command)
    return [find_program("taskset"), "-c", str(core), *command]


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Keep this process on one core: for load that is made here."""
    before = os.sched_getaffinity(0)
    if core < (os.cpu_count() or 1):
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """A process and its children, in a group of their own."""

    def __init__(self, name: str, command: Sequence[str], core: int, log: Path) -> None:
        self.name = name
        self._log = log
        self._file: IO[bytes] = log.open("wb")
        self._popen = subprocess.Popen(
            pinned(core, command),
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._popen.pid

    def cpu(self) -> float:
        """Return user + system seconds of the process and its living children."""
        return sum(_cpu(pid) for pid in (self.pid, *_children(self.pid)))

    def rss(self) -> int:
        """Return resident bytes of the process, without its children."""
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * _PAGE

    def said(self) -> str:
        """Return what the process has printed."""
        return self._log.read_text(errors="replace")

    def require_alive(self) -> None:
        """Raise RuntimeError with what the process said when it has ended."""
        if self._popen.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {self.said()[-2000:]}")

    def stop(self, grace: float = 5.0) -> None:
        """End the process and its group, politely first."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
                break
        self._file.close()


def _cpu(pid: int) -> float:
    # The command may hold spaces and parentheses; what follows the last one does not.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def _children(pid: int) -> Iterator[int]:
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield int(child)
        yield from _children(int(child))


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, for programs that cannot bind port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(process: Process, port: int, seconds: float = 15.0) -> None:
    """Wait until a process accepts connections; raises RuntimeError when it does not."""
    end = time.monotonic() + seconds
    while True:
        process.require_alive()
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            if time.monotonic() > end:
                raise RuntimeError(f"{process.name} does not listen: {process.said()}") from None
            time.sleep(0.05)
        else:
            return
