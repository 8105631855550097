"""Active health checks: GET a path of every endpoint whose policy asks for it (design 7)."""

import asyncio
import contextlib
import logging
from typing import NamedTuple

from gateway.egress import Egress, Forbidden, Origin
from gateway.view import View
from policy.model import HealthCheck
from policy.resolution import Health, Target
from registry.urls import parse_url

log = logging.getLogger("hilum.probe")

AT_ONCE = 32
"""Probes that run at the same time."""
TICK_SECONDS = 0.25


class _State:
    """What the probes of one endpoint found so far."""

    __slots__ = ("due", "failed", "passed")

    def __init__(self) -> None:
        self.due = 0.0
        self.passed = 0
        self.failed = 0


class _Probed(NamedTuple):
    """One origin and path; targets that share both share the probe."""

    origin: Origin
    path: str


class Prober:
    """Probes what the View's Routes ask for, for ever; writes only ``Health.down``."""

    def __init__(self, view: View, egress: Egress) -> None:
        self._view = view
        self._egress = egress
        self._states: dict[_Probed, _State] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Start each probe when it is due."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = loop.time()
            wanted = {_key(target, check): (target.health, check) for target, check in self._all()}
            for gone in self._states.keys() - wanted.keys():
                del self._states[gone]
            for key, (health, check) in wanted.items():
                state = self._states.setdefault(key, _State())
                if now >= state.due:
                    state.due = now + check.interval
                    task = loop.create_task(self._probe(key, health, check, state))
                    self._running.add(task)
                    task.add_done_callback(self._running.discard)

    def _all(self) -> list[tuple[Target, HealthCheck]]:
        return [(t, check) for t, check in self._view.probed() if not t.session]

    async def _probe(self, key: _Probed, health: Health, check: HealthCheck, state: _State) -> None:
        async with self._room:
            try:
                async with asyncio.timeout(check.timeout):
                    passed = await self._get(key)
            except (OSError, Forbidden, EOFError, ValueError, asyncio.LimitOverrunError):
                passed = False
        state.passed = state.passed + 1 if passed else 0
        state.failed = 0 if passed else state.failed + 1
        if health.down and state.passed >= check.healthy:
            health.down = False
            log.info("%s:%d is up again", key.origin.host, key.origin.port)
        elif not health.down and state.failed >= check.unhealthy:
            health.down = True
            log.warning("%s:%d is down", key.origin.host, key.origin.port)

    async def _get(self, key: _Probed) -> bool:
        """Return whether the endpoint answers with 2xx or 3xx."""
        origin = key.origin
        tls = origin.scheme == "https"
        for address in await self._egress.resolve(origin):
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(
                    address,
                    origin.port,
                    ssl=tls or None,
                    server_hostname=origin.host if tls else None,
                )
                break
        else:
            return False
        try:
            request = f"GET {key.path} HTTP/1.1\r\nHost: {origin.host}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            head = await reader.readuntil(b"\r\n")
            return head[:8] in (b"HTTP/1.1", b"HTTP/1.0") and head[9:10] in (b"2", b"3")
        finally:
            writer.close()


def _key(target: Target, check: HealthCheck) -> _Probed:
    url = parse_url(target.endpoint.url, template=True)
    return _Probed(Origin(url.scheme, url.host, url.port, target.peer), check.path)
