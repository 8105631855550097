"""Load for MQTT servers: much cheaper than what it measures, and never more than a window ahead.

Publishers write prebuilt bytes; subscribers count messages by a mark in each. A message counts when
it has been delivered, and a run ends when all of them have been.
"""

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle

from bench.mqtt_wire import MARK, PAYLOAD, Acknowledger, Client, publish
from bench.process import Process

READ = 1 << 18
_SILENCE = 10.0
"""Seconds without a delivery, after which messages are taken for lost."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """Who publishes to whom: ``burst`` messages in one write, ``window`` messages under way."""

    title: str
    publishers: int
    subscribers: int
    qos: int
    burst: int
    window: int
    limit: float = 0.0
    """At most so many times mosquitto's CPU per delivery."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: deliveries a second, and CPU µs of the server per delivery; p50 in µs."""

    rate: float
    cpu: float
    p50: float = 0.0


class Publisher:
    """A client with its bursts ready; its packet identifiers repeat long after they were acked."""

    def __init__(self, client: Client, topic: str, scenario: Scenario) -> None:
        self.client = client
        self.window = min(client.window, scenario.window)
        self.burst = min(scenario.burst, self.window)
        self.under_way = 0
        self._rest = 0
        count = 1 if not scenario.qos else 2 * self.window // self.burst + 1
        make = [
            b"".join(
                publish(client.version, topic, PAYLOAD, scenario.qos, 1 + n * self.burst + at)
                for at in range(self.burst)
            )
            for n in range(count)
        ]
        self._bursts = cycle(make)
        self._qos = scenario.qos

    def send(self) -> None:
        """Send the next burst."""
        self.client.socket.sendall(next(self._bursts))
        self.under_way += self.burst if self._qos else 0

    def acknowledged(self) -> None:
        """Read acknowledgements: four bytes each, without a reason or with that of success."""
        data = self.client.socket.recv(READ)
        if not data:
            raise RuntimeError("the server closed a publisher's connection")
        size = self._rest + len(data)
        if not self._rest and data[:2] != b"\x40\x02":
            raise RuntimeError(f"a publisher got {data[:40]!r}")
        self.under_way -= size // 4
        self._rest = size % 4

    def may_send(self) -> bool:
        return self.under_way + self.burst <= self.window


class Subscriber:
    """A client that counts what it gets, and acknowledges it at QoS 1."""

    def __init__(self, client: Client, topic: str, qos: int) -> None:
        self.client = client
        client.subscribe(topic, qos)
        self._acknowledger = Acknowledger() if qos else None
        self._half = False

    def receive(self) -> int:
        """Return how many messages have come."""
        data = self.client.socket.recv(READ)
        if not data:
            raise RuntimeError("the server closed a subscriber's connection")
        if self._acknowledger is not None:
            count, acks = self._acknowledger.take(data)
            if acks:
                self.client.socket.sendall(acks)
            return count
        count = data.count(MARK)
        if self._half and data[:1] == MARK[:1]:
            count += 1
        # A single mark byte at the end is the first half of one that is cut.
        self._half = data[-1:] == MARK[:1] and data[-2:] != MARK
        return count


class Traffic:
    """The connected clients of a scenario."""

    def __init__(
        self,
        port: int,
        logins: Sequence[tuple[str, str]],
        topic: str,
        version: int,
        scenario: Scenario,
        stack: ExitStack,
    ) -> None:
        self.scenario = scenario
        names = cycle(logins)

        def client(name: str) -> Client:
            made = Client(port, version, f"{name}-{version}", next(names))
            stack.callback(made.close)
            return made

        self.subscribers = [
            Subscriber(client(f"s{n}"), topic, scenario.qos) for n in range(scenario.subscribers)
        ]
        self.publishers = [
            Publisher(client(f"p{n}"), topic, scenario) for n in range(scenario.publishers)
        ]
        self._receive = {each.client.socket.fileno(): each for each in self.subscribers}
        self._acks = {each.client.socket.fileno(): each for each in self.publishers}

    def run(self, process: Process, seconds: float) -> Run:
        """Publish for a while; return what each delivery cost."""
        before, begin = process.cpu(), time.monotonic()
        work = self._ping_pong if self.scenario.window == 1 else self._pump
        deliveries, p50 = work(begin + seconds)
        taken, spent = time.monotonic() - begin, process.cpu() - before
        return Run(deliveries / taken, spent / deliveries * 1e6, p50)

    def _pump(self, end: float) -> tuple[int, float]:
        """Keep the window full until ``end``; return the deliveries."""
        poll = select.epoll()
        for number in (*self._receive, *(self._acks if self.scenario.qos else ())):
            poll.register(number, select.EPOLLIN)
        fan = len(self.subscribers)
        window = self.scenario.window * fan
        sent = received = 0
        going, publishers = True, self.publishers
        while going or received < sent or any(each.under_way for each in publishers):
            while going and sent - received < window:
                ready = [each for each in publishers if each.may_send()]
                if not ready:
                    break
                for each in ready:
                    each.send()
                    sent += each.burst * fan
            events = poll.poll(_SILENCE)
            if not events:
                raise RuntimeError(f"{sent - received} of {sent} deliveries are missing")
            for number, _ in events:
                if number in self._receive:
                    received += self._receive[number].receive()
                else:
                    self._acks[number].acknowledged()
            going = going and time.monotonic() < end
        poll.close()
        return received, 0.0

    def _ping_pong(self, end: float) -> tuple[int, float]:
        """Send one message at a time; return the deliveries and the median time of one, in µs."""
        (publisher,), (subscriber,) = self.publishers, self.subscribers
        times, clock = [], time.perf_counter
        while time.monotonic() < end:
            begin = clock()
            publisher.send()
            while not subscriber.receive():
                pass
            times.append(clock() - begin)
        times.sort()
        return len(times), times[len(times) // 2] * 1e6
