"""Waits for the SessionStore: one future for all that one turn of the loop waits for."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from gateway.session_port import SessionStore

_log = logging.getLogger("hilum.mqtt")


class StoreDisk:
    """The engine's view of a SessionStore's ``synced``."""

    def __init__(self, store: SessionStore) -> None:
        self._store = store
        self._waiting: list[Callable[[bool], None]] = []

    def after(self, done: Callable[[bool], None]) -> None:
        """Call ``done`` when all writes so far are on disk; with False when some failed."""
        self._waiting.append(done)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._store.synced().add_done_callback(partial(self._done, waiting))

    def _done(self, waiting: list[Callable[[bool], None]], synced: asyncio.Future[None]) -> None:
        ok = not synced.cancelled() and synced.exception() is None
        if not ok:
            _log.warning("the sessions were not written: %s", _reason(synced))
        for done in waiting:
            try:
                done(ok)
            except Exception:  # one session's fault must not stop all others
                _log.exception("a session failed")


def _reason(synced: asyncio.Future[None]) -> object:
    return "cancelled" if synced.cancelled() else synced.exception()
