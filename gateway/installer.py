"""Puts compiled Routes in place: built beside those in use, then swapped in one step (design 5)."""

import asyncio
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from itertools import chain, islice

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

        ``gone`` are names that ceased to exist, even if they came back since. Names of one service
        should stand together: they share what is cached.
        """
        async with self._turn:
            self._built = {}
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

    async def matching(self, patterns: Iterable[Pattern]) -> dict[Name, None]:
        """Return the names that any of the patterns matches, and literal ones in any case."""
        found: dict[Name, None] = {}
        for pattern in patterns:
            if pattern.literal:
                found[Name(pattern.text)] = None
                continue
            prefix = Name(pattern.prefix)
            names = chain([prefix], self._view.under(prefix))
            while part := list(islice(names, SLICE)):
                found.update((name, None) for name in part if pattern.matches(name))
                await asyncio.sleep(0)
        return found

    def _install(self, routes: Mapping[Name, Route | None], gone: Container[Name]) -> None:
        there = self._view.routes
        channels = [n for n in routes if n in there and there[n].kind is Kind.CHANNEL]
        ended = [name for name in channels if name in gone or not _is_channel(routes[name])]
        self._view.install(routes)
        for name in ended:
            self._channel_gone(name)


def _is_channel(route: Route | None) -> bool:
    return route is not None and route.kind is Kind.CHANNEL
