"""``$site/registry/things`` and its like: pages of descriptions, single ones, what changed.

Whoever asks sees only what policy lets it describe.
"""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from gateway.directory.expiry import rfc3339
from gateway.directory.feed import Feed, position_of
from gateway.directory.telling import Telling
from gateway.directory.views import Views
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, read
from gateway.objects.listing import leisurely
from gateway.objects.local import Handler, Result
from gateway.objects.things import etag_of
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Principal
from registry.names import Name, member

TD: Final = b"application/td+json"
PAGE: Final = 1000
"""Most descriptions of one page."""
USUAL: Final = 100
PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a page, beyond which it ends."""
Warnings: TypeAlias = Callable[[Name, Principal], list[dict[str, Any]]]
"""Returns what is wrong with the meaning of a description, as far as somebody may see it."""
SORTABLE: Final = ("id", "title", "created", "modified", "expires")


def nobody_warns(_: Name, __: Principal) -> list[dict[str, Any]]:
    """Return nothing: descriptions are not checked."""
    return []


class Things(Request, frozen=True, rename=None):
    """A page of descriptions: ``offset`` counts from 0 in the order of ``sort_by``."""

    offset: int = 0
    limit: int = USUAL
    sort_by: str = "id"
    sort_order: str = "asc"


class Which(Request, frozen=True):
    """One description; with ``view=submitted`` as it was submitted."""

    id: str
    view: str = ""


class Changes(Request, frozen=True):
    """Changes after a position of the feed; with ``diff`` what has changed."""

    after: str = "0"
    limit: int = USUAL
    diff: bool = False


class _Titled(msgspec.Struct):
    title: str = ""


def _title(text: str) -> str:
    """Return the title in a description, "" if it is damaged."""
    try:
        return msgspec.json.decode(text, type=_Titled).title
    except ValueError:
        return ""


class ReadingObject:
    """The methods that read."""

    def __init__(
        self, site: Site, views: Views, feed: Feed, warnings: Warnings = nobody_warns
    ) -> None:
        self._site = site
        self._views = views
        self._feed = feed
        self._warnings = warnings
        self._telling = Telling(site, views)

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"things": self.things, "thing": self.thing, "changes": self.changes}

    async def things(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of descriptions."""
        asked = await read(call, payload, Things)
        if asked.offset < 0 or asked.limit < 1:
            raise Refusal(Status.BAD_REQUEST, "offset is at least 0, limit at least 1")
        known = [id_ async for id_ in leisurely(self._views.ids(call.principal))]
        ids = await self._sorted(known, asked)
        limit = min(asked.limit, PAGE)
        items: list[bytes] = []
        size, at = 0, asked.offset
        for id_ in ids[asked.offset : asked.offset + limit]:
            await asyncio.sleep(0)  # a view takes half a millisecond when it is made
            name = self._views.name_of(id_)
            body = None if name is None else self._views.encoded(name, call.principal)
            body = body or b""
            if items and size + len(body) > PAGE_BYTES:
                break
            at += 1
            if body:
                items.append(body)
                size += len(body)
        more = at < len(ids)
        page = {
            "items": [msgspec.Raw(item) for item in items],
            "total": len(ids),
            "etag": f'"{await self._state(known)}"',
            "next": at if more else None,
        }
        return Result(msgspec.json.encode(page))

    async def thing(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return one description."""
        asked = await read(call, payload, Which)
        name = self._views.name_of(asked.id)
        view = None if name is None else self._views.of(name, call.principal)
        record = None if name is None else self._views.record(name)
        if name is None or view is None:
            raise Refusal(Status.NOT_FOUND, f"there is no description {asked.id!r} here")
        fields = (f"ETag: {self._tag(name)}\r\n".encode(),)
        if not asked.view:
            if isinstance(information := view.get("registration"), dict):
                information["retrieved"] = rfc3339(int(self._site.time() * 1000))
                if warnings := self._warnings(name, call.principal):
                    information["warnings"] = warnings
            return Result(msgspec.json.encode(view), TD, fields=fields)
        if asked.view != "submitted":
            raise Refusal(Status.BAD_REQUEST, f"view is submitted or nothing, not {asked.view!r}")
        if record is None:
            raise Refusal(Status.NOT_FOUND, f"{name} was registered with a manifest")
        if record.owner != call.principal.id and call.principal.kind != ADMINISTRATOR:
            detail = f"only who submitted {asked.id} and administrators see what was submitted"
            raise Refusal(Status.DENIED, detail)
        return Result(record.text.encode(), TD, fields=fields)

    async def changes(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return changes after a position; ``missed`` says that some are not known (any more)."""
        asked = await read(call, payload, Changes)
        try:
            at = position_of(asked.after)
        except ValueError as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error
        feed = self._feed
        missed = at < feed.begin
        at = feed.begin if missed else at
        if at > feed.head and at.sequence > self._site.ledger.seq:  # of a state that is gone
            at, missed = feed.head, True
        items: list[dict[str, Any]] = []
        limit = max(1, min(asked.limit, PAGE))
        size = 0
        while len(items) < limit and size <= PAGE_BYTES and (found := feed.after(at)):
            async for change in leisurely(found):
                if asked.diff:
                    await asyncio.sleep(0)
                at = change.at
                told = self._telling.data(change, call.principal, diff=asked.diff)
                if told is not None:
                    kind = {"sequence": str(at), "type": change.type, "time": change.time}
                    thing = msgspec.Raw(msgspec.json.encode(told))
                    items.append({**kind, "name": change.name, "thing": thing})
                    size += len(bytes(thing))
                if len(items) == limit or size > PAGE_BYTES:
                    break
        return answer({"items": items, "next": str(at), "missed": missed})

    # Inside

    async def _state(self, ids: Sequence[str]) -> str:
        """Return what changes with these descriptions, and with nothing that is hidden."""
        digest = blake2b(digest_size=8)
        async for id_ in leisurely(ids):
            name = self._views.name_of(id_)
            digest.update(f"{id_} {'' if name is None else self._tag(name)}\n".encode())
        return digest.hexdigest()

    def _tag(self, name: Name) -> str:
        """Return the entity tag of an object's description."""
        record = self._views.record(name)
        return f'"m{self._generation(name)}"' if record is None else etag_of(record)

    async def _sorted(self, ids: list[str], asked: Things) -> list[str]:
        """Return the ids that may be seen, in the order that was asked for."""
        if asked.sort_by not in SORTABLE or asked.sort_order not in ("asc", "desc"):
            detail = (
                f"descriptions are sorted by {', '.join(SORTABLE)}, asc or desc, "
                f"not by {asked.sort_by[:40]!r} {asked.sort_order[:40]!r}"
            )
            raise Refusal(Status.BAD_REQUEST, detail, extra={"code": 501})
        if asked.sort_by != "id":
            keys = {id_: self._key(id_, asked.sort_by) async for id_ in leisurely(ids)}
            ids = sorted(ids, key=keys.__getitem__)
        return ids[::-1] if asked.sort_order == "desc" else ids

    def _key(self, id_: str, field: str) -> tuple[float, str]:
        """Return what a description is sorted by; those without it come first."""
        name = self._views.name_of(id_)
        record = None if name is None else self._views.record(name)
        if name is None or (record is None and field != "title"):
            return (0, "")
        if field == "title":
            return (0, member(name) if record is None else _title(record.text))
        assert record is not None
        return (getattr(record, field), "")

    def _generation(self, name: Name) -> str:
        """Return what changes whenever the registrations of an object do."""
        catalog = self._site.catalog
        known = catalog.names.get(name)
        offers = () if known is None else known.offers
        return "-".join(str(catalog.registrations[o.registration].generation) for o in offers)
