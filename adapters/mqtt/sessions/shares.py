"""What all sessions of one principal hold together: a token must not be worth all memory."""


class Shares:
    """How much of something each principal holds, and whether that is more than ``limit``."""

    __slots__ = ("_held", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: dict[str, int] = {}

    def add(self, principal: str, amount: int) -> None:
        """Note that somebody holds so much more, or less."""
        held = self._held.get(principal, 0) + amount
        if held:
            self._held[principal] = held
        else:
            self._held.pop(principal, None)

    def is_over(self, principal: str) -> bool:
        """Return whether somebody holds more than they may."""
        return self._held.get(principal, 0) > self._limit

    def of(self, principal: str) -> int:
        """Return how much somebody holds."""
        return self._held.get(principal, 0)
