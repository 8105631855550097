"""What quality policies need beside the path of traffic: accounts that are kept, and numbers."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from adapters.control.metrics import Gauge
from adapters.store.accounts import AccountFile
from gateway.accounts import KEPT, Kind
from gateway.ports import StoreError
from gateway.shedding import Shedding
from gateway.site import Site

log = logging.getLogger("hilum")

FLUSH_SECONDS: Final = 5.0
"""What a power failure may take from the accounts."""
SERIES: Final = 100
"""Accounts of each kind that have series of their own."""


class Quality:
    """Keeps a site's accounts in a file."""

    def __init__(self, site: Site, state: Path) -> None:
        self._site = site
        self._file = AccountFile(state / "accounts.db")
        self._failing = False
        self._shedding = Shedding(site)
        site.plane.observe(site.accounts.ended)

    async def start(self) -> None:
        """Go on counting where the file ends."""
        self._site.accounts.restore(await self._file.load(KEPT))
        for finding in self._file.findings:
            log.warning("%s", finding)

    async def run(self) -> None:
        """Write accounts now and then, and look for what nears exhaustion."""
        flushed = 0.0
        while True:
            await asyncio.sleep(1.0)
            await self._shedding.look()
            flushed += 1.0
            if flushed >= FLUSH_SECONDS:
                flushed = 0.0
                await self._flush()

    async def close(self) -> None:
        """Write what was not written yet."""
        await self._flush()
        await self._file.close()

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        admission = self._site.admission
        return [
            Gauge(
                "hilum_throttled",
                "Messages that a quality policy refused or slowed down.",
                lambda: dict(admission.throttled),
                "policy",
                counts=True,
            ),
            Gauge(
                "hilum_waiting",
                "Calls that wait for a place.",
                lambda: {"": sum(limit.waits for limit in admission.queues)},
            ),
            self._used("principal", "messages"),
            self._used("principal", "bytes"),
            self._used("binding", "messages"),
            self._used("binding", "bytes"),
        ]

    def _used(self, kind: Kind, what: str) -> Gauge:
        accounts = self._site.accounts

        def read() -> Mapping[str, float]:
            top = accounts.top(kind, SERIES)
            if what == "messages":
                return {key: used.calls + used.events for key, used in top}
            return {key: used.received + used.sent for key, used in top}

        says = f"{what.capitalize()} of the {SERIES} {kind}s with most messages, and of all others."
        return Gauge(f"hilum_{kind}_{what}", says, read, kind)

    async def _flush(self) -> None:
        accounts = self._site.accounts
        await accounts.attribute()
        rows = accounts.unsaved()
        if not rows:
            return
        try:
            await self._file.save(rows)
        except StoreError as error:
            if not self._failing:
                log.warning("%s; counting goes on, and is written when that is possible", error)
            self._failing = True
        else:
            self._failing = False
            accounts.saved(rows)
