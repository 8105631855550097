"""Waits for the SessionStore: one future for all that one turn of the loop waits for."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from gateway.session_port import SessionStore

AGAIN = 0.1
"""Seconds until a disk that failed is asked again."""

_log = logging.getLogger("hilum.mqtt")


class StoreDisk:
    """The engine's view of a SessionStore's ``synced``."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._waiting: list[Callable[[bool], None]] = []
        self._failing = False

    def after(self, done: Callable[[bool], None]) -> None:
        """Call ``done`` when all writes so far are on disk; with False when some failed."""
        self._waiting.append(done)
        if len(self._waiting) == 1:
            loop = asyncio.get_running_loop()
            if self._failing:  # who waits again must not ask all the time
                loop.call_later(AGAIN, self._begin)
            else:
                loop.call_soon(self._begin)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._store.synced().add_done_callback(partial(self._done, waiting))

    def _done(self, waiting: list[Callable[[bool], None]], synced: asyncio.Future[None]) -> None:
        ok = not synced.cancelled() and synced.exception() is None
        if not ok and not self._failing:
            _log.warning("the sessions are not written: %s", _reason(synced))
        self._failing = not ok
        for done in waiting:
            try:
                done(ok)
            except Exception:  # one session's fault must not stop all others
                _log.exception("a session failed")


def _reason(synced: asyncio.Future[None]) -> object:
    return "cancelled" if synced.cancelled() else synced.exception()
