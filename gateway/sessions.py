"""Live sessions that provide methods themselves: bindings that die with their connection."""

from collections.abc import Callable

from policy.resolution import Source
from registry.names import Name


class Sessions:
    """Which sessions provide which names; ``changed`` is told each name that needs a new Route.

    They are no Changes: like leases, they are true only as long as their session lives.
    """

    def __init__(self, changed: Callable[[Name], None]) -> None:
        self._changed = changed
        self._sources: dict[Name, list[Source]] = {}

    def add(self, name: Name, source: Source) -> None:
        """A session provides a name from now on."""
        self._sources.setdefault(name, []).append(source)
        self._changed(name)

    def remove(self, name: Name, source: Source) -> None:
        """A session does not provide a name any longer."""
        sources = self._sources.get(name, [])
        if source in sources:
            sources.remove(source)
            if not sources:
                del self._sources[name]
            self._changed(name)

    def of(self, name: Name) -> list[Source]:
        """Return the sessions that provide a name."""
        return self._sources.get(name, [])
