"""Tokens of issuers that were verified: each has one Principal until it expires. Pure."""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import Final

from policy.identity.claims import Verified
from policy.model import Principal

ENTRIES: Final = 100_000
"""Verified tokens that are remembered; what is open with one that is not ends with it."""
OF_ONE: Final = 1000
"""Those of one principal: whoever gets himself many tokens ends his own sessions, not others'."""


class JwtCache:
    """By digest; bounded: of too many, the one that was verified first is forgotten."""

    def __init__(self) -> None:
        self._found: dict[str, Verified] = {}
        self._by_credential: dict[str, str] = {}
        self._by_name: dict[str, dict[str, None]] = {}
        self._ends: list[tuple[float, str]] = []
        self._void: dict[str, int] = {}
        self._dropped: list[str] = []

    def __len__(self) -> int:
        return len(self._found)

    def get(self, digest: str, now: float) -> Principal | None:
        """Return whose token this is, if it was verified and has not expired."""
        found = self._found.get(digest)
        return found.principal if found is not None and now < found.principal.expires else None

    def put(self, digest: str, verified: Verified) -> bool:
        """Remember a token; False: its principal's tokens of that time are void."""
        principal = verified.principal
        if verified.issued <= self._void.get(principal.id, -1):
            return False
        own = self._by_name.get(principal.id, ())
        if len(own) >= OF_ONE or len(self._found) >= ENTRIES:
            oldest = next(iter(own if len(own) >= OF_ONE else self._found))
            self._dropped.append(self._found[oldest].principal.credential)
            self._remove(oldest)
        self._found[digest] = verified
        self._by_credential[principal.credential] = digest
        self._by_name.setdefault(principal.id, {})[digest] = None
        heappush(self._ends, (principal.expires, digest))
        if len(self._ends) > 2 * len(self._found) + 100:
            self._ends = [(v.principal.expires, d) for d, v in self._found.items()]
            heapify(self._ends)
        return True

    def void(self, principal: str, at: int) -> list[str]:
        """Refuse a principal's tokens that were issued until ``at``; return their credentials."""
        self._void[principal] = max(at, self._void.get(principal, -1))
        return self._end(
            digest
            for digest in list(self._by_name.get(principal, ()))
            if self._found[digest].issued <= at
        )

    def ended(self, now: float) -> list[str]:
        """Return the credentials that expired, or were forgotten, since the last time."""
        due: list[str] = []
        while self._ends and self._ends[0][0] <= now:
            due.append(heappop(self._ends)[1])
        dropped, self._dropped = self._dropped, []
        return dropped + self._end(digest for digest in due if digest in self._found)

    def known(self, principal: str, now: float) -> Principal | None:
        """Return who a principal is by one of its tokens."""
        for digest in self._by_name.get(principal, ()):
            found = self.get(digest, now)
            if found is not None:
                return found
        return None

    def holds(self, principal: Principal) -> bool:
        """Whether a principal's token is still remembered."""
        digest = self._by_credential.get(principal.credential)
        return digest is not None and self._found[digest].principal is principal

    def _end(self, digests: Iterable[str]) -> list[str]:
        return [self._remove(digest) for digest in digests]

    def _remove(self, digest: str) -> str:
        principal = self._found.pop(digest).principal
        del self._by_credential[principal.credential]
        del self._by_name[principal.id][digest]
        if not self._by_name[principal.id]:
            del self._by_name[principal.id]
        return principal.credential
