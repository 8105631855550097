"""The directory of another site, followed: a registry among several sites (S3 III-D).

Each site is the only writer of its own authority, and decides what a follower sees. While it does
not answer, what is known of it is marked stale; after a while it is forgotten.
"""

import asyncio
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.web import FetchError, Web
from registry.model import VirtualObject
from registry.names import InvalidName, Name, authority_of, parse_name

log = logging.getLogger("hilum.directory")

POLL_SECONDS: Final = 1.0
AGAIN_SECONDS: Final = 0.05
"""Until the next question when there is more to ask for."""
RESYNC_SECONDS: Final = 300.0
"""How often everything is read anew, for what the other site allows no more."""
LONGEST_PAUSE: Final = 30.0
MAX_ENTRIES: Final = 200_000
MAX_PAGES: Final = 100_000
PATH: Final = "/$site/registry/share"


class State(StrEnum):
    """How much what is known of another site is worth."""

    UNKNOWN = "unknown"
    """It never answered, or what it said is forgotten."""
    CURRENT = "current"
    STALE = "stale"


class Entry(Struct, frozen=True):
    """An object of another site: its description with that site's forms, and what it offers."""

    id: str
    name: Name
    object: VirtualObject
    view: dict[str, Any]


class _Item(Struct, frozen=True):
    id: str
    name: str
    gone: bool = False
    object: VirtualObject | None = None
    view: dict[str, Any] = {}


class _Page(Struct, frozen=True):
    items: list[_Item]
    position: str
    start: str = ""
    missed: bool = False


_page = msgspec.json.Decoder(_Page)


class Times(Struct, frozen=True):
    """Seconds without an answer until what is known is stale, and until it is forgotten."""

    stale: float
    forget: float


class Following:
    """What is known of one other site. ``clock`` is the loop's time."""

    def __init__(
        self,
        authority: str,
        url: str,
        web: Web,
        authorization: Callable[[], str],
        clock: Callable[[], float],
        times: Times,
    ) -> None:
        self.authority = authority
        self.entries: dict[Name, Entry] = {}
        self.state = State.UNKNOWN
        self.problem = ""
        """Why it did not answer the last time."""
        self.refused = 0
        """Entries that are none of its own names, or cannot be read."""
        self.changed: list[Callable[[Name, Entry | None], None]] = []
        """Told of each entry that is another one now, or gone."""
        self._url = url.rstrip("/") + PATH
        self._web = web
        self._authorization = authorization
        self._clock = clock
        self._times = times
        self._position = ""
        self._names: dict[str, Name] = {}
        self._answered = clock()
        self._synced = clock()

    @property
    def silent(self) -> float:
        """How many seconds ago the other site last answered."""
        return self._clock() - self._answered

    async def run(self) -> None:
        """Follow for ever."""
        pause = POLL_SECONDS
        while True:
            try:
                again = await self.step()
                pause = AGAIN_SECONDS if again else POLL_SECONDS
            except FetchError as error:
                self._failed(str(error))
                pause = min(max(2 * pause, POLL_SECONDS), LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def step(self) -> bool:
        """Ask once; return whether there is more to ask for at once. Raises FetchError."""
        due = self._clock() - self._synced >= RESYNC_SECONDS
        if not self._position or due:
            await self._sync()
            return False
        page = await self._ask({"after": self._position})
        if page.missed:
            await self._sync()
            return False
        for item in page.items:
            self._take(item)
        moved = page.position != self._position
        self._position = page.position
        self._heard()
        return moved and bool(page.items)

    def look(self) -> None:
        """Once a second: mark what is stale, forget what is too old."""
        silent = self.silent
        if self.state is State.CURRENT and silent >= self._times.stale:
            self.state = State.STALE
            log.warning(
                "%s does not answer: what is known of it is stale (%s)",
                self.authority,
                self.problem,
            )
        if self.state is State.STALE and silent >= self._times.forget:
            self.state = State.UNKNOWN
            self._position = ""
            for name in list(self.entries):
                self._put(name, None)

    async def _sync(self) -> None:
        """Read everything; what was known and is not there any more is gone."""
        start, position = "", ""
        seen: set[Name] = set()
        for _ in range(MAX_PAGES):
            page = await self._ask({"start": start} if start else {})
            position = position or page.position
            seen.update(name for name in map(self._take, page.items) if name is not None)
            if not page.start:
                break
            if page.start <= start:
                raise FetchError(f"{self._url} lists what it has listed before")
            start = page.start
        for name in self.entries.keys() - seen:
            self._put(name, None)
        self._position = position
        self._synced = self._clock()
        self._heard()

    async def _ask(self, question: dict[str, str]) -> _Page:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if authorization := self._authorization():
            headers["Authorization"] = authorization
        body = msgspec.json.encode(question)
        answer = await self._web.ask("POST", self._url, headers, body)
        if answer.status != 200:
            raise FetchError(f"{self._url} answers {answer.status}")
        try:
            return _page.decode(answer.body)
        except (msgspec.DecodeError, RecursionError) as error:
            raise FetchError(f"{self._url} answers what is no page: {error}") from None

    def _take(self, item: _Item) -> Name | None:
        """Take over one entry; return its name, None when it is refused or gone."""
        name = self._own(item.name)
        if item.gone:
            known = self._names.get(item.id)
            if known is not None and known == name:
                self._put(known, None)
            return None
        if name is None or item.object is None or item.object.name != name:
            self._refuse(item)
            return None
        if name not in self.entries and len(self.entries) >= MAX_ENTRIES:
            self._refuse(item)
            return None
        entry = Entry(item.id, name, item.object, item.view)
        if self.entries.get(name) != entry:
            self._put(name, entry)
        return name

    def _own(self, text: str) -> Name | None:
        """Return a name if it is one of the other site, and written as names are."""
        try:
            name = parse_name(text, authority=self.authority)
        except InvalidName:
            return None
        return name if name == text and authority_of(name) == self.authority else None

    def _refuse(self, item: _Item) -> None:
        self.refused += 1
        if self.refused == 1:
            log.warning(
                "%s tells of %.80r, which is none of its own names: refused",
                self.authority,
                item.name,
            )

    def _put(self, name: Name, entry: Entry | None) -> None:
        old = self.entries.pop(name, None)
        if old is not None:
            self._names.pop(old.id, None)
        if entry is not None:
            self.entries[name] = entry
            self._names[entry.id] = name
        for tell in self.changed:
            tell(name, entry)

    def _heard(self) -> None:
        if self.state is not State.CURRENT:
            log.info("%s is followed: %d objects", self.authority, len(self.entries))
        self.state = State.CURRENT
        self.problem = ""
        self._answered = self._clock()

    def _failed(self, why: str) -> None:
        if not self.problem:
            log.warning("the directory of %s cannot be followed: %s", self.authority, why)
        self.problem = why
