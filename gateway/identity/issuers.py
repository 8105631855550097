"""The keys of each issuer of tokens, as far as they are known: pure state, fetched by an adapter.

Keys that were fetched go on for a day when the issuer is down. A token with a key that is not
known makes the adapter ask once more, but not again for a while, whatever tokens come.
"""

from collections.abc import Callable, Iterable
from typing import Final

from policy.identity.claims import Expected
from policy.identity.jwt import Unverified, VerificationKey, fitting

REFETCH_SECONDS: Final = 10.0
"""An issuer is not asked more often than this because of tokens."""
STALE_SECONDS: Final = 24 * 3600.0
"""How long keys are used that could not be fetched again."""
WAITING: Final = 1000
"""Tokens that wait for one issuer's keys."""


class IssuerKeys:
    """One issuer. ``clock`` is the loop's time in seconds; ``wake`` makes the adapter ask now."""

    def __init__(
        self,
        expected: Expected,
        clock: Callable[[], float],
        refetch: float = REFETCH_SECONDS,
        stale: float = STALE_SECONDS,
    ) -> None:
        self.expected = expected
        self.wake: Callable[[], None] = _nothing
        self.problem = "its keys have not been fetched yet"
        """Why the last fetch failed, "" when it did not."""
        self._clock = clock
        self._refetch = refetch
        self._stale = stale
        self._keys: tuple[VerificationKey, ...] = ()
        self._fetched = float("-inf")
        self._asked = float("-inf")
        self._asking = True
        self._waiting: list[Callable[[], None]] = []

    @property
    def keys(self) -> tuple[VerificationKey, ...]:
        """The keys that may be used now."""
        return self._keys if self._clock() - self._fetched < self._stale else ()

    def knows(self, token: Unverified) -> bool:
        """Whether there is a key that the token may be signed with."""
        return bool(fitting(self.keys, token.header))

    def wait(self, then: Callable[[], None]) -> bool:
        """Call ``then`` when the keys were fetched again, or could not be; False: not now.

        Never calls it within this call.
        """
        if len(self._waiting) >= WAITING:
            return False
        if not self._asking:
            if self._clock() - self._asked < self._refetch:
                return False
            self._asking = True
            self.wake()
        self._waiting.append(then)
        return True

    # What the adapter says

    def asking(self) -> None:
        """A fetch begins."""
        self._asking = True
        self._asked = self._clock()

    def fetched(self, keys: Iterable[VerificationKey]) -> None:
        """There are keys: they take the place of all before."""
        self._keys = tuple(keys)
        self._fetched = self._clock()
        self._answered("")

    def failed(self, why: str) -> None:
        """The keys could not be fetched; those of before go on for a while."""
        self._answered(why)

    def _answered(self, problem: str) -> None:
        self.problem = problem
        self._asking = False
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then()


def _nothing() -> None:
    """Nobody fetches."""
