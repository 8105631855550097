"""Policies that are tried: what is in force with some on top, at another time and threat level."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

from gateway.message import Refusal, Status
from gateway.recent import fill
from gateway.site import Site
from policy.access.cases import At
from policy.language import ManifestDoc
from policy.model import Environment

LATEST = 253_402_300_799
"""The last second of the year 9999, in Unix time."""
_SUPPOSED = "?"
"""The name of an Environment that no manifest can have."""


class When(NamedTuple):
    """What is asked at: Unix seconds and the threat level; None for those of now."""

    at: float | None = None
    threat: int | None = None


NOW = When()


class Trial:
    """An index of its own; nothing of it is enforced. It may be filled and asked in a thread."""

    def __init__(self, site: Site, documents: Sequence[ManifestDoc] = ()) -> None:
        self.index = site.policies.access.empty()
        self._site = site
        self._specs = site.policies.specs()
        self._specs.update({(d.kind, d.name): d.spec for d in documents})
        self._when: When | None = None

    def fill(self) -> None:
        """Read all policies: some 10 ms for 1,000 of them."""
        fill(self.index, self._specs)

    def let(self, when: When) -> None:
        """Let it be another time, and the threat level another."""
        if when == self._when:
            return
        self._when = when
        now = self._site.time() if when.at is None else when.at
        self.index.tick(now, self._site.offset(now))
        for (kind, name), spec in self._specs.items():
            if isinstance(spec, Environment):
                given = spec if when.threat is None else replace(spec, threat=0)
                self.index.put(kind, name, given)
        self.index.put(Environment.__name__, _SUPPOSED, Environment(when.threat or 0))


def when_of(site: Site, at: At, threat: int | None) -> When:
    """Read a time: one without an offset is the site's local time. Raises Refusal."""
    if at == "":
        return When(None, threat)
    try:
        seconds = at if isinstance(at, int | float) else _seconds(site, at)
    except (ValueError, OverflowError) as error:
        raise _refusal(at, str(error)) from error
    if not 0 <= seconds <= LATEST:
        raise _refusal(at, "it is before 1970 or after 9999")
    return When(seconds, threat)


def _seconds(site: Site, at: str) -> float:
    moment = datetime.fromisoformat(at)
    if moment.tzinfo is not None:
        return moment.timestamp()
    local = moment.replace(tzinfo=UTC).timestamp()
    return local - site.offset(max(0.0, local))


def _refusal(at: At, why: str) -> Refusal:
    detail = f"the time {at!r}: {why}; write Unix seconds, or as 2026-03-01T08:00:00Z"
    return Refusal(Status.INVALID, detail)
