"""When credentials expire: what is open ends then, their records go a while later."""

from heapq import heappop, heappush

KEPT_SECONDS = 24 * 3600.0
"""How long the record of an expired credential is kept for those who list them."""


class Expiry:
    """Credentials by id in the order of their expiry; times are Unix seconds."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, str]] = []
        self._forgets: list[tuple[float, str]] = []

    def add(self, id_: str, expires: int) -> None:
        """Watch a credential."""
        heappush(self._ends, (float(expires), id_))
        heappush(self._forgets, (expires + KEPT_SECONDS, id_))

    def ended(self, now: float) -> list[str]:
        """Return the credentials that expired since the last time."""
        return _due(self._ends, now)

    def forgotten(self, now: float) -> list[str]:
        """Return the credentials whose records are kept no longer."""
        return _due(self._forgets, now)


def _due(heap: list[tuple[float, str]], now: float) -> list[str]:
    due = []
    while heap and heap[0][0] <= now:
        due.append(heappop(heap)[1])
    return due
