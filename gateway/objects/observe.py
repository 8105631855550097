"""``$site/observe``: rates by name, and calls and denials as they happen (decision 0040).

A tail is asked for again and again, each time from where it was: so it works over every protocol,
under the same policies as any call.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, Literal

from gateway.channels import Channels
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.seeing.watching import Filter, Tally, Watching, busiest
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from policy.quality.breaker import HALF_OPEN, OPEN
from registry.names import InvalidName, Name, Pattern

MOST: Final = 200
"""Names in one answer."""
CHANNELS: Final = 20_000
"""Channels whose events are counted."""
WAIT: Final = 20_000
"""Milliseconds that a tail waits at most; less than a call's deadline."""
_STATES = {OPEN: "open", HALF_OPEN: "half-open"}


class Top(Request, frozen=True):
    """The busiest names at or below ``prefix``, by one of the columns."""

    prefix: str = ""
    sort: Literal["calls", "faults", "refused", "p99"] = "calls"
    limit: int = 40


class Trace(Request, frozen=True):
    """What fits a pattern of names, a principal and a decision; ``after`` goes on with a tail.

    ``wait`` is how many milliseconds to wait for the first item.
    """

    name: str = "**"
    principal: str = ""
    decision: Literal["", "allowed", "denied"] = ""
    after: str = ""
    wait: int = 10_000


class ObserveObject:
    """The handlers; whoever may describe a name sees its rates, administrators who calls it."""

    def __init__(
        self, site: Site, channels: Channels, watching: Watching, random: Callable[[int], bytes]
    ) -> None:
        self._site = site
        self._channels = channels
        self._watching = watching
        self._random = random
        self._events: dict[Name, int] = {}
        self._asked = 0.0

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"top": self.top, "trace": self.trace}

    async def top(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return the busiest names of the last seconds with their rates, latencies and limits."""
        asked = await read(call, payload, Top)
        prefix = name_of(self._site, asked.prefix, reserved=True) if asked.prefix else ""
        found, seconds = self._watching.top()
        seen = {
            name: tally
            for name, tally in found.items()
            if (not prefix or name == prefix or name.startswith(f"{prefix}/"))
            and self._site.allowed(call.principal, Action.DESCRIBE, name)
        }
        limit = max(1, min(asked.limit, MOST))
        under_way = self._watching.open_calls()
        return answer(
            {
                "site": self._site.authority,
                "seconds": round(seconds, 3),
                "names": [
                    self._row(name, tally, seconds, under_way.get(name, 0))
                    for name, tally in busiest(seen, asked.sort, limit)
                ],
                "channels": self._busy_channels(call, prefix, limit),
                "open": len(self._site.plane.live),
                "throttled": self._throttled(),
            }
        )

    async def trace(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return calls and denials since the last question, at once or when there are some."""
        asked = await read(call, payload, Trace)
        require(self._site, call, Action.ADMINISTER, call.name)
        watching = self._watching
        id_ = asked.after
        tail = watching.tails.get(id_)
        lost = 0
        if tail is None:
            id_ = self._random(8).hex()
            tail = watching.begin(
                id_, Filter(self._pattern(asked.name), asked.principal, asked.decision)
            )
            items: list[dict[str, object]] = []
        else:
            watching.asked(tail)
            items = await tail.take(max(0, min(asked.wait, WAIT)) / 1000)
            watching.asked(tail)
            lost, tail.lost = tail.lost, 0
        new = bool(asked.after) and id_ != asked.after
        return answer({"items": items, "after": id_, "lost": lost, "restarted": new})

    # Inside

    def _row(self, name: Name, tally: Tally, seconds: float, under_way: int) -> dict[str, Any]:
        return {
            "name": name,
            "rate": round(tally.calls / seconds, 2),
            "faults": round(tally.faults / seconds, 2),
            "refused": round(tally.refused / seconds, 2),
            "p50": _ms(tally.quantile(0.5)),
            "p99": _ms(tally.quantile(0.99)),
            "open": under_way,
            **self._endpoints(name),
        }

    def _endpoints(self, name: Name) -> dict[str, Any]:
        """Return how many endpoints a name has, how many take calls, and what breakers say."""
        route, now = self._site.view.find(name), self._site.plane.now
        if route is None or route.selection is None:
            return {"endpoints": 0, "well": 0, "breakers": [], "limited": False}
        targets = list(route.selection.targets())
        guards = [target.guard for target in targets if target.guard is not None]
        states = [g.breaker.state(now) for g in guards if g.breaker is not None]
        return {
            "endpoints": len(targets),
            "well": sum(target.ok(now) for target in targets),
            "breakers": [_STATES[state] for state in states if state in _STATES],
            "limited": route.gate is not None,
        }

    def _busy_channels(self, call: Call, prefix: str, limit: int) -> list[dict[str, Any]]:
        """Return the channels with most events since this was asked last, by whomever."""
        now = self._site.plane.now
        seconds = max(now - self._asked, 0.1) if self._asked else 0.0
        before, self._events, self._asked = self._events, {}, now
        found: list[tuple[int, Name, int]] = []
        for name, last, listeners in islice(self._channels.activity(), CHANNELS):
            self._events[name] = last
            came = last - before.get(name, last)
            if came and (not prefix or name == prefix or name.startswith(f"{prefix}/")):
                found.append((-came, name, listeners))
        rows: list[dict[str, Any]] = []
        for came, name, listeners in sorted(found):
            if len(rows) >= limit:
                break
            if self._site.allowed(call.principal, Action.DESCRIBE, name):
                rate = round(-came / seconds, 2) if seconds else 0.0
                rows.append({"name": name, "rate": rate, "subscribers": listeners})
        return rows

    def _throttled(self) -> dict[str, int]:
        admission = self._site.plane.admission
        return {} if admission is None else dict(admission.throttled)

    def _pattern(self, text: str) -> Pattern | None:
        """Read a pattern of names; None for all, the reserved ones too."""
        if text in ("", "**"):
            return None
        site = self._site
        try:
            return Pattern.parse(text, authority=site.authority, aliases=site.aliases)
        except InvalidName as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error


def _ms(seconds: float) -> float | None:
    return None if seconds < 0 else seconds * 1000
