"""Clients that have one request under way each, whatever they speak, and what an answer costs."""

import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from bench.process import Process

SILENCE = 5.0
"""Seconds without an answer: there is no loss on this machine, so none is coming."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: answers a second, CPU µs of the server for each, and their median time in µs."""

    rate: float
    cpu: float
    p50: float = 0.0


class Helper(Protocol):
    """Somebody else with a socket, such as who answers the requests."""

    socket: socket.socket

    def ready(self) -> None:
        """Deal with what has come."""


class Client(Protocol):
    """Somebody who asks; ``number`` counts answers, of which ``most`` are possible in one run."""

    socket: socket.socket
    number: int
    most: int

    def ask(self) -> None:
        """Send the next request."""

    def answered(self) -> bool:
        """Deal with what has come; return whether it is the answer."""


def run(
    process: Process, clients: Sequence[Client], seconds: float, helpers: Sequence[Helper] = ()
) -> Run:
    """Let all clients ask for a while, then close them."""
    with ExitStack() as stack:
        for client in clients:
            stack.callback(client.socket.close)
        before, begin = process.cpu(), time.monotonic()
        if len(clients) == 1 and not helpers:
            p50 = _alone(clients[0], begin + seconds)
        else:
            p50 = _together(clients, helpers, begin + seconds)
        taken, spent = time.monotonic() - begin, process.cpu() - before
    answers = sum(client.number for client in clients)
    return Run(answers / taken, spent / answers * 1e6, p50)


def _together(clients: Sequence[Client], helpers: Sequence[Helper], end: float) -> float:
    poll = select.epoll()
    asking = {client.socket.fileno(): client for client in clients}
    helping = {helper.socket.fileno(): helper for helper in helpers}
    for number in (*asking, *helping):
        poll.register(number, select.EPOLLIN)
    for client in clients:
        client.ask()
    waiting = len(clients)
    while waiting:
        events = poll.poll(SILENCE)
        if not events:
            raise RuntimeError(f"{waiting} answers are missing")
        going = time.monotonic() < end
        for number, _ in events:
            if number in helping:
                helping[number].ready()
                continue
            client = asking[number]
            if client.answered():
                if going and client.number < client.most:
                    client.ask()
                else:
                    waiting -= 1
    poll.close()
    return 0.0


def _alone(client: Client, end: float) -> float:
    times, clock = [], time.perf_counter
    while time.monotonic() < end and client.number < client.most:
        begin = clock()
        client.ask()
        while not client.answered():
            pass
        times.append(clock() - begin)
    times.sort()
    return times[len(times) // 2] * 1e6
