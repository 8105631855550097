"""Dynamic policies: those that end at a moment, and what is left to do then (S3 III-B).

They end by the clock, not by the log: one that has ended is not in force, whether or not the
Change that withdraws it is written yet.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush

from gateway.ledger import Plan
from gateway.policies import PolicyBook
from registry.catalog import Catalog
from registry.changes import Change, PolicyDeleted
from registry.model import PolicyRecord
from registry.names import Pattern

Key = tuple[str, str]
"""Kind and name."""


class PolicyExpiry:
    """Puts policies in force and takes them out; ``unix`` is Unix time in seconds.

    ``lasting`` counts the changes of policies that have no end.
    """

    def __init__(self, book: PolicyBook, unix: Callable[[], float]) -> None:
        self.lasting = 0
        self._book = book
        self._unix = unix
        self._ends: list[tuple[int, Key]] = []
        self._of: dict[Key, int] = {}

    def put(self, record: PolicyRecord) -> list[Pattern]:
        """Put a policy in force unless it has ended; return the patterns to compile anew."""
        key, end = (record.kind, record.name), record.expires
        if not end:
            self._of.pop(key, None)
            self.lasting += 1
            return self._book.put(record)
        self._of[key] = end
        heappush(self._ends, (end, key))
        return self._book.remove(*key) if end <= self._unix() else self._book.put(record)

    def remove(self, kind: str, name: str) -> list[Pattern]:
        """Take a policy out of force; return the patterns of names to compile anew."""
        if self._of.pop((kind, name), None) is None:
            self.lasting += 1
        return self._book.remove(kind, name)

    def take_out(self, keys: Iterable[Key]) -> list[Pattern]:
        """Take policies out of force before the log says so; return as ``remove`` does."""
        return [pattern for key in keys for pattern in self._book.remove(*key)]

    def due(self, limit: int) -> list[Key]:
        """Return policies that have ended since the last time."""
        now = self._unix()
        due: list[Key] = []
        while self._ends and self._ends[0][0] <= now and len(due) < limit:
            end, key = heappop(self._ends)
            if self._of.get(key) == end:
                due.append(key)
        return due


def withdrawal(catalog: Catalog, keys: Iterable[Key]) -> Plan:
    """Return the plan that deletes policies, unless somebody applies them again before."""
    expected = {key: r.revision for key in keys if (r := catalog.policies.get(key)) is not None}

    def plan(newest: Catalog) -> Sequence[Change]:
        return [
            PolicyDeleted(*key)
            for key, revision in expected.items()
            if (record := newest.policies.get(key)) is not None and record.revision == revision
        ]

    return plan
