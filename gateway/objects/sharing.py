"""``$site/registry/share``: what another site may know of this one, and what became of it.

The other site asks as a principal like any other, so policy here decides what it sees. It is told
how things are now, not how they came to be so: whoever was away has less to read.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gateway.directory.feed import Feed, ThingChange, position_of
from gateway.directory.views import Views, object_of
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, read
from gateway.objects.listing import leisurely
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action, Principal
from registry.model import VirtualObject
from registry.names import Name, member

PAGE: Final = 500
"""Most entries of one answer."""
PAGE_BYTES: Final = 4 * 1024 * 1024


class Share(Request, frozen=True):
    """What is asked: changes after ``after``, or without it everything, after the id ``start``."""

    after: str = ""
    start: str = ""
    limit: int = PAGE


class SharingObject:
    """The method that other sites call."""

    def __init__(self, site: Site, views: Views, feed: Feed) -> None:
        self._site = site
        self._views = views
        self._feed = feed

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"share": self.share}

    async def share(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page: ``items``, and the ``position`` to ask after next time.

        ``start`` is the id to go on after where a listing is not at its end. ``missed`` says that
        changes are lost: then everything has to be asked for again.
        """
        asked = await read(call, payload, Share)
        limit = max(1, min(asked.limit, PAGE))
        if asked.after:
            return await self._changes(call.principal, asked.after, limit)
        return await self._everything(call.principal, asked.start, limit)

    async def _everything(self, principal: Principal, start: str, limit: int) -> Result:
        position = str(self._feed.head)
        items: list[bytes] = []
        more, size = False, 0
        async for id_ in leisurely(self._views.ids(principal, start)):
            if len(items) == limit or size > PAGE_BYTES:
                more = True
                break
            if (item := self._item(id_, principal)) is not None:
                size += len(item)
                items.append(item)
                start = id_
        return _page(items, position=position, start=start if more else "")

    async def _changes(self, principal: Principal, after: str, limit: int) -> Result:
        try:
            at = position_of(after)
        except ValueError as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error
        if at < self._feed.begin or at > self._feed.head:
            return _page([], position=str(self._feed.head), missed=True)
        changed: dict[str, ThingChange] = {}
        while len(changed) < limit and (found := self._feed.after(at)):
            for change in found:
                if len(changed) == limit and change.id not in changed:
                    break
                changed[change.id] = change
                at = change.at
        items: list[bytes] = []
        async for change in leisurely(changed.values()):
            item = self._item(change.id, principal)
            if item is None and self._might_know(change, principal):
                item = msgspec.json.encode({"id": change.id, "name": change.name, "gone": True})
            if item is not None:
                items.append(item)
        return _page(items, position=str(at))

    def _item(self, id_: str, principal: Principal) -> bytes | None:
        """Return an object as a principal may see it: its description, and what it offers."""
        name = self._views.name_of(id_)
        record = None if name is None else self._site.catalog.names.get(name)
        view = None if name is None else self._views.of(name, principal)
        if name is None or record is None or view is None:
            return None
        obj = self._offered(object_of(record), principal)
        return msgspec.json.encode({"id": id_, "name": name, "object": obj, "view": view})

    def _offered(self, obj: VirtualObject, principal: Principal) -> VirtualObject:
        """Return an object without the members that are hidden, and without ways to its service."""
        seen = {member(n) for n, _ in obj.members() if self._views.may(principal, n)}
        return replace(
            obj,
            methods={k: replace(m, endpoints=()) for k, m in obj.methods.items() if k in seen},
            channels={k: replace(c, sources=()) for k, c in obj.channels.items() if k in seen},
        )

    def _might_know(self, change: ThingChange, principal: Principal) -> bool:
        """Return whether a principal may have seen what is gone."""
        owner = "" if change.before is None else change.before.owner
        check = self._site.plane.access.check
        return check(principal, Action.DESCRIBE, Name(change.name), owner).allowed


def _page(items: Iterable[bytes], **said: Any) -> Result:
    page = {"items": [msgspec.Raw(item) for item in items], **said}
    return Result(msgspec.json.encode(page))
