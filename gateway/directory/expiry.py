"""When a description expires (W3C WoT Discovery 7.3.1): read, and swept."""

import heapq
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from gateway.ledger import Entered
from gateway.message import Refusal, Status
from gateway.site import SYSTEM, Site
from registry.catalog import Catalog
from registry.changes import Change, Deregistered, ThingForgotten
from registry.model import ThingRecord

LONGEST: Final = 100 * 366 * 86_400
"""Seconds that a description may be registered for."""
AT_ONCE: Final = 100


def expires_of(document: Mapping[str, Any], now: float) -> int:
    """Return when a submitted description expires, in Unix milliseconds, 0 for never.

    ``ttl``, seconds from ``now`` (Unix time), counts before ``expires``, an absolute time
    (RFC 3339). Raises Refusal for times that cannot be meant.
    """
    information = document.get("registration")
    if not isinstance(information, dict):
        return 0
    ttl, text = information.get("ttl"), information.get("expires")
    if ttl is not None:
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 0 < ttl <= LONGEST:
            raise wrong("/registration/ttl", f"a ttl is above 0 and at most {LONGEST} seconds")
        return int((now + ttl) * 1000)
    if text is None:
        return 0
    try:
        at = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None:
        raise wrong("/registration/expires", "is no date-time with an offset (RFC 3339)")
    seconds = at.timestamp()
    if not now < seconds <= now + LONGEST:
        raise wrong("/registration/expires", "is in the past, or too far in the future")
    return int(seconds * 1000)


def wrong(field: str, description: str) -> Refusal:
    """Refuse a description for one of its members."""
    problems = [{"field": field, "description": description}]
    detail = f"the Thing Description is not valid: {field}: {description}"
    return Refusal(Status.BAD_REQUEST, detail, extra={"validationErrors": problems})


def rfc3339(ms: int) -> str:
    """Return a Unix time in milliseconds as RFC 3339 writes it."""
    at = datetime.fromtimestamp(ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Expiries:
    """Forgets descriptions whose time has passed; their registrations end with them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._due: list[tuple[int, str]] = []
        site.watchers.entered.append(self._entered)

    def load(self) -> None:
        """Look at all that is there, once the log is replayed."""
        self._due = [(t.expires, t.id) for t in self._site.catalog.things.values() if t.expires]
        heapq.heapify(self._due)

    def sweep(self) -> None:
        """Once a second: the log hears of what has expired as soon as it can."""
        now = self._site.time() * 1000
        while self._due and self._due[0][0] <= now:
            ids: list[str] = []
            while self._due and self._due[0][0] <= now and len(ids) < AT_ONCE:
                ids.append(heapq.heappop(self._due)[1])
            plan = partial(ended, tuple(ids), now)
            self._site.ledger.owe(("things", ids[0]), SYSTEM, plan)

    def _entered(self, entered: Sequence[Entered]) -> None:
        for _, touched, _ in entered:
            for id_ in touched.things:
                thing = self._site.catalog.things.get(id_)
                if thing is not None and thing.expires:
                    heapq.heappush(self._due, (thing.expires, id_))


def ended(ids: Sequence[str], now: float, catalog: Catalog) -> list[Change]:
    """Return the end of those descriptions that have expired now (Unix milliseconds)."""
    things = (catalog.things.get(id_) for id_ in ids)
    return [c for t in things if t is not None and 0 < t.expires <= now for c in end_of(t)]


def end_of(thing: ThingRecord) -> list[Change]:
    """Return the Changes that end a description."""
    return [Deregistered(thing.registration), ThingForgotten(thing.id)]
