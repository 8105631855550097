"""When tokens expire: what is open with them ends then, their records go a while later."""

from heapq import heappop, heappush

from registry.model import TokenRecord

KEPT_SECONDS = 24 * 3600.0
"""How long the record of an expired token is kept for those who list tokens."""


class Expiry:
    """The tokens in the order of their expiry; times are Unix seconds."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, str]] = []
        self._forgets: list[tuple[float, str]] = []

    def add(self, token: TokenRecord) -> None:
        """Watch a token."""
        heappush(self._ends, (float(token.expires), token.id))
        heappush(self._forgets, (token.expires + KEPT_SECONDS, token.id))

    def ended(self, now: float) -> list[str]:
        """Return the tokens that expired since the last time."""
        return _due(self._ends, now)

    def forgotten(self, now: float) -> list[str]:
        """Return the tokens whose records are kept no longer."""
        return _due(self._forgets, now)


def _due(heap: list[tuple[float, str]], now: float) -> list[str]:
    due = []
    while heap and heap[0][0] <= now:
        due.append(heappop(heap)[1])
    return due
