"""What conditions see beside the question: the object's attributes, the environment, roles."""

from collections.abc import Callable, Mapping
from typing import Final

from policy.conditions.kinds import WEEKDAYS
from policy.model import Principal, Value
from registry.names import Name

DAY: Final = 86_400


class Facts:
    """What holds now. ``objects`` returns an object's attributes, ``roles`` a principal's roles."""

    __slots__ = ("environment", "objects", "roles")

    def __init__(
        self,
        objects: Callable[[Name], Mapping[str, Value]] = lambda _: {},
        roles: Callable[[Principal], frozenset[str]] = lambda p: frozenset(p.roles),
    ) -> None:
        self.environment: dict[str, Value] = {}
        self.objects = objects
        self.roles = roles

    def look(self, now: float, offset: int) -> None:
        """Let it be Unix time ``now`` in seconds, where local time is ``offset`` seconds ahead."""
        local = int(now) + offset
        days, seconds = divmod(local, DAY)
        # 1970-01-01 was a Thursday.
        self.environment["weekday"] = WEEKDAYS[(days + 3) % 7]
        self.environment["date"] = float(days)
        self.environment["time"] = float(seconds)
