"""Descriptions as somebody sees them who may not see all of their members.

Each takes as long as a view, and there may be thousands: they are made while others run, and those
that changed meanwhile are made again.
"""

import asyncio
from typing import Final

from gateway.directory.texts import Texts
from gateway.directory.visibility import Seen, Visibility
from policy.model import Principal
from registry.names import Name

SLICE: Final = 16
"""Descriptions that are made before others may run."""
QUICK: Final = 64
"""Descriptions that may be made at once."""


class PartlySeen:
    """What one search of a principal needs of them."""

    def __init__(self, texts: Texts, visibility: Visibility, principal: Principal) -> None:
        self._texts = texts
        self._visibility = visibility
        self._principal = principal
        self._made: dict[Name, tuple[tuple[str, ...], bytes | None]] = {}

    async def prepare(self) -> None:
        """Find out what is seen, and make the descriptions; ``now`` is quick then."""
        await self._visibility.prepare(self._principal)
        for number, name in enumerate(self._missing()):
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            hidden = self._visibility.hidden_of(self._principal, name)
            if hidden:
                self._made[name] = (hidden, self._texts.text_for(name, self._principal))

    def is_ready(self) -> bool:
        """Return whether ``now`` is quick: little is to be made."""
        return self._visibility.is_ready(self._principal) and len(self._missing()) <= QUICK

    def now(self, seen: Seen) -> dict[str, bytes]:
        """Return the descriptions by their ids, as they are to be seen at this moment."""
        found = {}
        for name, hidden in seen.partial.items():
            made = self._made.get(name)
            if made is None or made[0] is not hidden:
                made = (hidden, self._texts.text_for(name, self._principal))
            id_ = self._texts.id_of(name)
            if id_ is not None and made[1] is not None:
                found[id_] = made[1]
        return found

    def _missing(self) -> list[Name]:
        """Return those that are not made as they are: whatever is decided anew is another tuple."""
        partial = self._visibility.of(self._principal).partial
        nothing = ((), None)
        return [n for n, hidden in partial.items() if self._made.get(n, nothing)[0] is not hidden]
