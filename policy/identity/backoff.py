"""How long somebody who failed to say who it is has to wait until the next try. Pure.

Failures count for the source, for the pair of source and user, and for the user. The last only
makes the pair's waits longer: a source that has not failed yet always has a first try, so nobody
can lock a user out from elsewhere.
"""

from collections.abc import Hashable
from ipaddress import IPv6Address, ip_address
from typing import Final

OF_SOURCE: Final = 4
OF_USER: Final = 2
"""How many times as many failures cost a source nothing as one user of it, or one user of all:
many devices may be behind one address."""
FORGET: Final = 900.0
"""Seconds without a failure after which nothing is remembered."""
ENTRIES: Final = 20_000
"""Of each kind; the one whose last failure is the longest ago gives way."""
USER: Final = 128
"""Characters of a user's name that count."""


def source_of(peer: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 of an IPv6 one."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer[:64]
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


class _Failures:
    """Counts by key, with the time of the last one."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._found)

    def count(self, key: Hashable, now: float) -> int:
        count, last = self._found.get(key, (0, 0.0))
        return count if now - last < FORGET else 0

    def last(self, key: Hashable) -> float:
        return self._found[key][1]

    def add(self, key: Hashable, now: float) -> None:
        count = self.count(key, now) + 1
        self._found.pop(key, None)
        if len(self._found) >= ENTRIES:
            del self._found[next(iter(self._found))]
        self._found[key] = (count, now)

    def forget(self, key: Hashable) -> None:
        self._found.pop(key, None)


class Backoff:
    """Remembers failures, at most ``ENTRIES`` of each kind. Times are seconds of one clock.

    ``free`` failures of a pair cost nothing; then it waits ``first`` seconds, twice as long after
    each further one, at most ``longest``.
    """

    def __init__(self, free: int = 5, first: float = 1.0, longest: float = 300.0) -> None:
        self._free = free
        self._first = first
        self._longest = longest
        self._sources = _Failures()
        self._pairs = _Failures()
        self._users = _Failures()

    def __len__(self) -> int:
        return len(self._sources) + len(self._pairs) + len(self._users)

    def wait(self, source: str, user: str, now: float) -> float:
        """Return the seconds until a source may try again as a user ("": as nobody); 0: now."""
        pair = (source, user[:USER])
        failed = self._pairs.count(pair, now)
        heat = self._users.count(pair[1], now) - self._free * OF_USER
        waits = 0.0
        if failed:
            strikes = max(failed - self._free, heat)
            waits = self._pairs.last(pair) + self._seconds(strikes) - now
        strikes = self._sources.count(source, now) - self._free * OF_SOURCE
        if strikes > 0:
            waits = max(waits, self._sources.last(source) + self._seconds(strikes) - now)
        return max(waits, 0.0)

    def failed(self, source: str, user: str, now: float) -> float:
        """Take note of a failure; return the seconds to wait."""
        self._sources.add(source, now)
        if user:
            self._pairs.add((source, user[:USER]), now)
            self._users.add(user[:USER], now)
        return self.wait(source, user, now)

    def succeeded(self, source: str, user: str) -> None:
        """Forget what a source failed at as a user; what it failed at as others still counts."""
        self._pairs.forget((source, user[:USER]))

    def _seconds(self, strikes: int) -> float:
        if strikes <= 0:
            return 0.0
        return float(min(self._first * 2.0 ** min(strikes - 1, 30), self._longest))
