"""The process that keeps a replica and forks itself for each query: ``-m adapters.sparql.keeper``.

It has one thread, so a fork is whole; the kernel copies pages only when one side writes. A query
that goes wild takes nothing with it but its own process: the kernel ends that at its deadline
(ITIMER_REAL), beyond its memory (RLIMIT_AS), and lets it open neither files nor sockets.
"""

import ctypes
import gc
import os
import resource
import selectors
import signal
import sys
from contextlib import suppress
from typing import NoReturn

from adapters.sparql.answering import Held, answer
from adapters.sparql.messages import Cancel, Documents, Feed, Frames, frame, to_keeper
from gateway.directory.queries import Answer, Ask

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
_PIECE = 1 << 20
_MEMORY_EXITS = (-signal.SIGABRT, -signal.SIGKILL, 3)
"""How a process ends that got no memory: Rust aborts, Python says so (3)."""


class Keeper:
    """The replica, and the queries that run."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._held = Held()
        self._frames = Frames()
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, _Running] = {}

    def run(self) -> None:
        """Serve until the site closes its end."""
        self._selector.register(self._source, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fd != self._source:
                    self._hear(key.data)
                elif not self._read():
                    return

    def _read(self) -> bool:
        data = os.read(self._source, _PIECE)
        for body in self._frames.feed(data):
            match message := to_keeper(body):
                case Feed():
                    self._held.feed(message)
                    gc.freeze()
                case Documents():
                    self._held.documents(message)
                case Ask():
                    self._begin(message)
                case Cancel(number):
                    if number in self._running:
                        os.kill(self._running[number].pid, signal.SIGKILL)
        return bool(data)

    def _begin(self, ask: Ask) -> None:
        reading, writing = os.pipe()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            _answer(self._held, ask, writing, parent)
        os.close(writing)
        running = self._running[ask.number] = _Running(ask, pid, reading, self._held.generation)
        self._selector.register(reading, selectors.EVENT_READ, running)

    def _hear(self, running: "_Running") -> None:
        data = os.read(running.source, _PIECE)
        if data:
            running.parts.append(data)
            return
        self._selector.unregister(running.source)
        os.close(running.source)
        del self._running[running.ask.number]
        code = os.waitstatus_to_exitcode(os.waitpid(running.pid, 0)[1])
        whole = b"".join(running.parts)
        _write(self._target, whole if code == 0 and whole else frame(running.ended(code)))


class _Running:
    """One query."""

    def __init__(self, ask: Ask, pid: int, source: int, generation: int) -> None:
        self.ask = ask
        self.pid = pid
        self.source = source
        self.generation = generation
        self.parts: list[bytes] = []

    def ended(self, code: int) -> Answer:
        """Say how a process ended that had no answer."""
        ask = self.ask
        if code in (-signal.SIGALRM, -signal.SIGXCPU):
            outcome, detail = "time", f"the query took longer than {ask.seconds:g} s"
        elif code in _MEMORY_EXITS:
            outcome = "memory"
            detail = f"the query needed more than {ask.memory >> 20} MiB of memory"
        else:
            outcome, detail = "failed", "the query is too complex: its process ended early"
        return Answer(ask.number, outcome, detail=detail, generation=self.generation)


def _answer(held: Held, ask: Ask, target: int, parent: int) -> NoReturn:
    """Answer one query in this process, then end it; nothing of the keeper's own is done here."""
    code = 1
    try:
        _confine(ask, parent)
        _write(target, frame(answer(held, ask)))
        code = 0
    except MemoryError:
        code = 3
    finally:
        os._exit(code)


def _confine(ask: Ask, parent: int) -> None:
    """Let the kernel see to it that a query keeps to what it may use."""
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    signal.setitimer(signal.ITIMER_REAL, ask.seconds)
    os.nice(10)
    size = _address_space() + ask.memory
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if not ask.network:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def die_with_parent() -> None:
    """End this process when the one that started it ends (Linux; the pipe's end says it too)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _write(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]


def main() -> None:
    """Speak over standard input and output."""
    die_with_parent()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the site says when: by the end of the pipe
    target = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    Keeper(0, target).run()
    sys.exit(0)


if __name__ == "__main__":
    main()
