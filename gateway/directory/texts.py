"""The descriptions as JSON texts, for searches: filled at the first one, current from then on."""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.directory.queries import Engine
from gateway.directory.views import Views
from gateway.ledger import Entered
from gateway.site import Site
from policy.model import Principal
from registry.names import Name
from registry.search.columns import Columns
from registry.search.forms import Form

SLICE: Final = 64
"""Descriptions that are looked at before others may run."""
CHUNK: Final = 512
"""Descriptions that are sent to the replica at once."""


class Texts:
    """Views of all objects as whoever has no limits sees them, by id."""

    def __init__(self, site: Site, views: Views) -> None:
        self.columns = Columns()
        self._site = site
        self._views = views
        self._ids: dict[Name, str] = {}
        self._dirty: dict[Name, None] | None = None
        self._moved: dict[str, None] = {}
        self._engine: Engine | None = None
        self._filling = asyncio.Lock()
        site.watchers.entered.append(self._entered)

    async def prepare(self, form: Form | None) -> None:
        """Look at what has changed, and make the columns of a form, while others run."""
        if self._dirty is None:
            self._dirty = dict.fromkeys(self._views.names())
        async with self._filling:
            while len(self._dirty) > SLICE:
                for _ in range(SLICE):
                    self._look(self._dirty.popitem()[0])
                await asyncio.sleep(0)
            for path in () if form is None else self.columns.missing(form):
                for number, _ in enumerate(self.columns.build(path)):
                    if number % SLICE == SLICE - 1:
                        await asyncio.sleep(0)

    def settle(self) -> None:
        """Look at the last that has changed: what follows in the same turn sees all."""
        dirty = self._dirty or {}
        while dirty:
            self._look(dirty.popitem()[0])

    def share(self, engine: Engine) -> None:
        """Let an engine's replica follow: with all there is at first, with what moved later."""
        self.settle()
        texts = self.columns.texts
        moved = list(self._moved if self._engine is engine else texts)
        for start in range(0, len(moved), CHUNK):
            some = moved[start : start + CHUNK]
            put = {id_: texts[id_] for id_ in some if id_ in texts}
            engine.documents(put, tuple(id_ for id_ in some if id_ not in texts))
        self._moved.clear()
        self._engine = engine

    def unshare(self) -> None:
        """The engine's replica is lost: a new one is told all."""
        self._engine = None

    def text_for(self, name: Name, principal: Principal) -> bytes | None:
        """Return a description as a principal sees it, which may not see all of it."""
        view = self._views.of(name, principal)
        return None if view is None else msgspec.json.encode(view)

    def id_of(self, name: Name) -> str | None:
        """Return the id of an object's description."""
        return self._ids.get(name)

    def _look(self, name: Name) -> None:
        old, new = self._ids.pop(name, None), self._views.id_of(name)
        view = None if new is None else self._views.of(name)
        if old is not None and (old != new or view is None):
            self.columns.remove(old)
            self._moved[old] = None
        if new is not None and view is not None:
            self._ids[name] = new
            self.columns.put(new, msgspec.json.encode(view))
            self._moved[new] = None

    def _entered(self, entered: Sequence[Entered]) -> None:
        if self._dirty is None:
            return
        things = self._site.catalog.things
        for _, touched, _ in entered:
            self._dirty.update(dict.fromkeys(n for n in touched.names if self._is_object(n)))
            self._dirty.update(dict.fromkeys(things[i].name for i in touched.things if i in things))

    def _is_object(self, name: Name) -> bool:
        return name in self._ids or self._views.id_of(name) is not None
