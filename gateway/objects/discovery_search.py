"""One question of typed discovery, asked for one caller: what it may see, page by page."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from time import perf_counter
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from gateway.directory.finding import Facts
from gateway.directory.latencies import Latencies
from gateway.message import Refusal, Status
from gateway.site import Site
from policy.model import Action, Principal
from registry.discovery.postings import Member, Object, Question, Window
from registry.discovery.rings import Ring
from registry.names import Name, authority_of
from registry.terms import compact

MEMBERS: Final = 64
"""Most members that are shown of one object."""
STEP: Final = 0.001
"""Seconds of looking before others may run."""
WINDOWS: Final = (64, 512, 4096)
"""Names that are joined at a time: few at first, then more."""
Item: TypeAlias = dict[str, Any]


class Cursor(NamedTuple):
    """Where a page goes on: in which ring, and after which name."""

    ring: str
    after: str

    def text(self, asked: object) -> str:
        """Return it as callers get it; it belongs to what was asked."""
        body = msgspec.msgpack.encode((_print(asked), *self))
        return urlsafe_b64encode(body).rstrip(b"=").decode()


def read_cursor(text: str, asked: object) -> Cursor | None:
    """Read what ``Cursor.text`` wrote, None for the beginning. Raises Refusal."""
    if not text:
        return None
    try:
        body = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        print_, ring, after = msgspec.msgpack.decode(body, type=tuple[bytes, str, str])
    except ValueError:  # msgspec's errors and those of base64 are some
        raise Refusal(Status.BAD_REQUEST, "the cursor is none of ours") from None
    if print_ != _print(asked):
        detail = "the cursor belongs to another question: a page goes on with the same parameters"
        raise Refusal(Status.BAD_REQUEST, detail)
    return Cursor(ring, after)


class Turns:
    """Lets others run when this has run for a while."""

    def __init__(self) -> None:
        self._begin = perf_counter()

    async def pause(self) -> None:
        """Let others run if it is time."""
        if perf_counter() - self._begin > STEP:
            await asyncio.sleep(0)
            self._begin = perf_counter()


class Latency(NamedTuple):
    """A 95th percentile in milliseconds: observed over so many calls, else declared."""

    milliseconds: float
    calls: int = 0

    def shown(self) -> Item:
        """Return it for an answer."""
        if self.calls:
            return {"ms": self.milliseconds, "source": "observed", "calls": self.calls}
        return {"ms": self.milliseconds, "source": "declared"}


class Search:
    """One question; ``most`` is the latency in milliseconds that is accepted, 0 for any."""

    def __init__(
        self,
        site: Site,
        latencies: Latencies,
        facts: Facts,
        principal: Principal,
        question: Question,
        most: float,
    ) -> None:
        self._allowed = site.allowed
        self._authority = site.authority
        self._latencies = latencies
        self._facts = facts
        self._principal = principal
        self._question = question
        self._keys = question.keys()
        self._most = most
        self._looked = 0

    async def page(
        self, rings: Sequence[Ring], cursor: Cursor | None, limit: int
    ) -> tuple[list[Item], Cursor | None]:
        """Return the next items, and where to go on, None at the end. Raises Refusal."""
        items: list[Item] = []
        turns = Turns()
        first, after = self._begin(rings, cursor)
        for ring in rings[first:]:
            more = True
            while more:
                window = self._window(ring, after)
                for name in window.found:
                    item = self._item(name, ring)
                    if item is not None:
                        items.append(item)
                        if len(items) == limit:
                            return items, Cursor(ring.id, name)
                    self._looked += 1
                    await turns.pause()
                await turns.pause()
                after = window.after
                more = bool(after)
        return items, None

    def _begin(self, rings: Sequence[Ring], cursor: Cursor | None) -> tuple[int, str]:
        if cursor is None:
            return 0, ""
        for number, ring in enumerate(rings):
            if ring.id == cursor.ring:
                return number, cursor.after
        detail = "the cursor's place is not where it was: ask again from the beginning"
        raise Refusal(Status.BAD_REQUEST, detail)

    def _window(self, ring: Ring, after: str) -> Window:
        size = WINDOWS[min(self._looked // WINDOWS[0], len(WINDOWS) - 1)]
        self._looked += 1
        keys = [*self._keys, *ring.keys]
        return self._facts.postings.look(keys, ring.without, after, size)

    def _item(self, name: str, ring: Ring) -> Item | None:
        """Return an object for an answer, None when it does not meet all or is not to be seen."""
        obj = self._facts.postings.objects.get(name)
        if obj is None or (ring.located is not None and not ring.located(obj)):
            return None
        question = self._question
        if not self._may(obj.name):
            return None
        members: list[Item] = []
        more = False
        for member, latency in self._members(obj):
            if len(members) == MEMBERS:
                more = True
                break
            members.append(_member(member, latency, question))
        if not members and (self._most or question.needs_member(obj)):
            return None
        return {
            "name": obj.name,
            "id": obj.id,
            **self._abroad(obj.name),
            **({"title": obj.title} if obj.title else {}),
            "types": sorted(map(compact, obj.types)),
            **({"place": compact(obj.place)} if obj.place else {}),
            **({"distance": dict(ring.distance)} if ring.distance is not None else {}),
            "members": members,
            **({"moreMembers": True} if more else {}),
        }

    def _abroad(self, name: Name) -> Item:
        """Say of which other site an object is, and whether that does not answer now."""
        authority = authority_of(name)
        if authority == self._authority:
            return {}
        return {"site": authority, "stale": authority in self._facts.silent}

    def _members(self, obj: Object) -> Iterator[tuple[Member, Latency | None]]:
        """Yield the members that meet all and may be seen, with their latency."""
        for member in self._question.members(obj):
            latency = self._latency(member)
            soon = not self._most or (latency is not None and latency.milliseconds <= self._most)
            if soon and self._may(member.name):
                yield member, latency

    def _latency(self, member: Member) -> Latency | None:
        observed = self._latencies.of(member.name) if member.is_method else None
        if observed is not None:
            return Latency(observed.milliseconds, observed.calls)
        return Latency(member.latency) if member.latency else None

    def _may(self, name: Name) -> bool:
        return self._allowed(self._principal, Action.DESCRIBE, name)


def _member(member: Member, latency: Latency | None, question: Question) -> Item:
    return {
        "name": member.name,
        "kind": "method" if member.is_method else "channel",
        "types": sorted(map(compact, member.types)),
        **({"exact": question.type in member.types} if question.type in member.classes else {}),
        "protocols": sorted(member.protocols),
        **({"latency": latency.shown()} if latency is not None else {}),
    }


def _print(asked: object) -> bytes:
    return blake2b(msgspec.msgpack.encode(asked), digest_size=8).digest()
