"""Python time per CoAP request without sockets: ``python -m bench.coap_micro [--profile]``.

A real site and a real message layer; only the datagrams are in memory, and the method's provider
answers in this process. What the kernel and the event loop add is not in these figures (budget:
6 µs, so that together with some 5 µs of uvloop a request costs what it costs libcoap's server).
"""

import argparse
import asyncio
import cProfile
import pstats
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import uvloop

from adapters.coap.serving.datagrams import Messages
from adapters.coap.serving.listener import CoapListener, CoapSettings
from adapters.coap.wire.codec import CON, GET, NON, POST, PUT, Message, encode
from adapters.store import open_event_log, open_store
from gateway.channels import Channels
from gateway.message import Origin, Reply, Status
from gateway.objects.local import LocalProvider
from gateway.ports import Answer, Permit, Sink
from gateway.settings import Limits
from gateway.site import Clocks, Identity, Site
from policy.model import AccessPolicy, Action, Subject
from registry.changes import PolicyApplied, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    PolicyRecord,
    Registration,
    RegistrationId,
    VirtualObject,
)

BUDGET = 6.0
REQUESTS = 20_000
PEERS = 16
BODY = b'{"steps": 8421, "note": "' + b"x" * 37 + b'"}'
JSON = (12, b"\x32")
KINDS = {
    "call, CON": (CON, POST, "method", BODY),
    "call, NON": (NON, POST, "method", BODY),
    "event, CON": (CON, PUT, "channel", BODY),
    "event, NON": (NON, PUT, "channel", BODY),
    "last value, CON": (CON, GET, "channel", b""),
}


class Responder:
    """Answers calls when it is asked to: a provider never does within the call."""

    def __init__(self) -> None:
        self._open: Answer | None = None
        self._body = b""

    def send(self, _permit: Permit, answer: Answer, body: bytes, _end: bool) -> Sink:
        self._open, self._body = answer, body
        return self

    def answer(self) -> None:
        answer, self._open = self._open, None
        if answer is not None:
            head = Reply(Status.OK, Origin.PROVIDER, 200, b"application/json", len(self._body))
            answer.reply(head, self._body, end=True)

    def body(self, *_: object) -> None:
        raise RuntimeError("payloads come whole")

    cancel = pause = resume = body


async def start_site(site: Site) -> None:
    """Start a site that anybody may use."""
    await site.start()
    policy = AccessPolicy("allow", (Subject(),), tuple(Action), ("localhost/**",))
    spec = msgspec.json.encode(policy).decode()
    methods = {"method": Method(endpoints=(Endpoint("http://127.0.0.1:9/"),))}
    bench = VirtualObject("localhost/Bench", methods=methods, channels={"channel": EventChannel()})
    id_ = RegistrationId("Bench", "1", "a")
    changes = [
        Registered(Registration(id_, "site:bench", "127.0.0.1", 3600, 1, (bench,))),
        PolicyApplied(PolicyRecord("AccessPolicy", "all", 1, "site:admin", spec)),
    ]
    await site.ledger.change("bench", lambda _: changes)


def datagrams(kind: int, code: int, member: str, body: bytes) -> list[bytes]:
    """Return requests with Message IDs of their own."""
    options = [(11, b"Bench"), (11, member.encode()), *([JSON] if body else [])]
    return [
        encode(Message(kind, code, number, number.to_bytes(2), options, body))
        for number in range(REQUESTS)
    ]


class Rig:
    """A message layer whose datagrams go nowhere."""

    def __init__(self, messages: Messages, responder: Responder) -> None:
        self.messages = messages
        self.responder = responder
        self.sent = 0
        self._port = 0
        messages.send = messages.outgoing.send = self._send

    def _send(self, data: bytes, _address: object) -> None:
        if data[1] >> 5 != 2:
            raise RuntimeError(f"a request was answered by {data!r}")
        self.sent += 1

    def ask(self, requests: list[bytes]) -> float:
        """Ask everything once, by new peers; return CPU microseconds per request."""
        self._port += PEERS
        addresses = [("127.0.0.1", self._port + number) for number in range(PEERS)]
        received, answer = self.messages.received, self.responder.answer
        for address in addresses:
            self.messages._new_peer(address).verified = float("inf")  # noqa: SLF001
        begin = time.process_time()
        for number, data in enumerate(requests):
            received(data, addresses[number & PEERS - 1])
            answer()
        return (time.process_time() - begin) / len(requests) * 1e6


async def run(
    repeats: int, report: Callable[[Callable[[], object]], None]
) -> dict[str, list[float]]:
    """Return the figures of each kind of request."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(Path(folder) / "changes.db")
        log = await open_event_log(Path(folder) / "events.db")
        site = Site(Identity("localhost"), store, LocalProvider(), Clocks(loop.time, time.time))
        channels = Channels(
            log,
            time_ms=lambda: time.time_ns() // 1_000_000,
            incarnation=lambda: secrets.token_hex(4),
        )
        listener = CoapListener(site, channels, CoapSettings(anonymous=True), Limits())
        responder = site.plane.providers["http"] = Responder()
        await start_site(site)
        await listener.listen("127.0.0.1", 0)
        rig = Rig(listener.sockets[0].messages, responder)
        asked = {kind: datagrams(*what) for kind, what in KINDS.items()}
        rig.ask(asked["event, CON"])
        figures: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(repeats):
            for kind, requests in asked.items():
                figures[kind].append(rig.ask(requests))
        if rig.sent != REQUESTS * (1 + repeats * len(KINDS)):
            raise RuntimeError("not every request was answered")
        report(lambda: rig.ask(asked["call, CON"]))
        await listener.drain(0.0)
        await channels.close()
        await site.stop()
        await store.close()
        await log.close()
    return figures


def profile(work: Callable[[], object]) -> None:
    """Print where the time goes."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    figures = uvloop.run(run(args.repeats, profile if args.profile else lambda _: None))
    for kind, values in figures.items():
        print(f"{kind:16} median {statistics.median(values):5.2f} µs  best {min(values):5.2f} µs")
    print(f"budget for a request: {BUDGET} µs")


if __name__ == "__main__":
    main()
