"""Puts compiled Routes in place: built beside those in use, then swapped in one step (design 5)."""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable
from itertools import islice

from gateway.view import Compiler, Route, View
from registry.model import Kind
from registry.names import Name, Pattern

SLICE = 250
"""Routes that are compiled, or names that are compared, before others may run."""


class Installer:
    """The one writer of a View. ``channel_gone`` is told of channels that are none any more."""

    def __init__(
        self, view: View, compiler: Compiler, channel_gone: Callable[[Name], None]
    ) -> None:
        self._view = view
        self._compiler = compiler
        self._channel_gone = channel_gone
        self._turn = asyncio.Lock()
        self._built: dict[Name, Route | None] = {}

    async def refresh(self, names: Collection[Name], gone: Container[Name] = ()) -> None:
        """Compile ``names`` in slices, so that traffic goes on, and install them together.

        ``gone`` are names that ceased to exist, even if they came back since.
        """
        async with self._turn:
            rest = iter(names)
            while part := list(islice(rest, SLICE)):
                self._built.update(self._compiler.compile(part))
                if len(self._built) < len(names):
                    await asyncio.sleep(0)
            built, self._built = self._built, {}
            self._install(built, gone)

    def now(self, name: Name) -> None:
        """Compile and install one name at once; what was built of it before is outdated."""
        self._built.pop(name, None)
        self._install(self._compiler.compile([name]), ())

    async def matching(self, patterns: Iterable[Pattern]) -> set[Name]:
        """Return the names that any of the patterns matches, and literal ones in any case."""
        found: set[Name] = set()
        for pattern in patterns:
            if pattern.literal:
                found.add(Name(pattern.text))
                continue
            prefix = Name(pattern.prefix)
            below = self._view.under(prefix)
            found.update(name for name in (prefix,) if pattern.matches(name))
            while part := list(islice(below, SLICE)):
                found.update(name for name in part if pattern.matches(name))
                await asyncio.sleep(0)
        return found

    def _install(self, routes: dict[Name, Route | None], gone: Container[Name]) -> None:
        ended = [name for name, route in routes.items() if self._ends(name, route, gone)]
        self._view.install(routes)
        for name in ended:
            self._channel_gone(name)

    def _ends(self, name: Name, route: Route | None, gone: Container[Name]) -> bool:
        """Whether a channel ends here, though another may begin under its name."""
        old = self._view.routes.get(name)
        if old is None or old.kind is not Kind.CHANNEL:
            return False
        return name in gone or route is None or route.kind is not Kind.CHANNEL
