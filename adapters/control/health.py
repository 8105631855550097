"""Whether a site is ready: it follows its change log and can write."""

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from gateway.site import Site

REMEMBERED = 2.0
"""Seconds for which a look at the disk counts: anybody may ask, but not make the disk busy."""
BLOCK = b"\0" * 4096


class Health:
    """Says why a site is not ready. ``clock`` is the loop's time, ``state`` the site's folder."""

    def __init__(self, site: Site, state: Path, clock: Callable[[], float]) -> None:
        self._site = site
        self._state = state
        self._clock = clock
        self._looked = float("-inf")
        self._disk = ""
        self._looking = asyncio.Lock()

    async def problems(self) -> list[str]:
        """Return the reasons, none when the site is ready."""
        found = []
        if not self._site.ready:
            found.append("the site does not follow its change log")
        if self._site.draining:
            found.append("the site drains: it stops when what is open has ended")
        owed = self._site.ledger.owed
        if owed:
            found.append(f"the store cannot write: {owed} withdrawals wait for it")
        async with self._looking:
            if self._clock() - self._looked >= REMEMBERED:
                self._disk = await asyncio.to_thread(_write_problem, self._state)
                self._looked = self._clock()
        if self._disk:
            found.append(self._disk)
        return found


def _write_problem(folder: Path) -> str:
    """Write and sync a block beside the store; return why that is not possible."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(BLOCK)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"the state's folder cannot be written: {error.strerror}"
    return ""
