"""``$site/registry/list`` and ``registrations``: pages of what exists (design 8).

Whoever asks sees only what policy lets it describe. Thousands of names are looked at for one page,
so others run in between.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from heapq import nsmallest
from typing import Any, TypeVar

from gateway.message import Call
from gateway.objects.answers import Request, answer, name_of, read
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route, View
from policy.model import Action
from registry.model import Registration, RegistrationId
from registry.names import Name, join

T = TypeVar("T")

PAGE = 1000
"""Most entries of one answer."""
SLICE = 256
"""Entries that are looked at before others may run."""


class Listing(Request, frozen=True):
    """A page of names: below ``prefix``, of one ``kind``, after the name ``after``."""

    prefix: str = ""
    kind: str = ""
    after: str = ""
    limit: int = 100


class Registrations(Request, frozen=True):
    """A page of registrations after the id ``after``, of one microservice or of all."""

    microservice: str = ""
    after: str = ""
    limit: int = 100


class ListObject:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"list": self.names, "registrations": self.registrations}

    async def names(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of names with what they are and whose."""
        asked = await read(call, payload, Listing)
        site = self._site
        prefix = (
            name_of(site, asked.prefix, reserved=True) if asked.prefix else Name(site.authority)
        )
        limit = max(1, min(asked.limit, PAGE))
        page: list[Route] = []
        async for route in leisurely(_below(site.view, prefix, _key(asked.after))):
            if asked.kind in ("", route.kind) and _may(site, call, route.name):
                page.append(route)
                if len(page) == limit:
                    break
        items = [
            {"name": r.name, "kind": r.kind, "owner": r.owner, "live": _is_live(r)} for r in page
        ]
        return answer({"items": items, "next": page[-1].name if len(page) == limit else ""})

    async def registrations(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of registrations, in the order of their ids."""
        asked = await read(call, payload, Registrations)
        limit = max(1, min(asked.limit, PAGE))
        found: dict[str, Registration] = {}
        async for id_, registration in leisurely(self._registered(asked.microservice)):
            text = str(id_)
            if text > asked.after and may_describe(self._site, call, registration):
                found[text] = registration
        page = nsmallest(limit, found)
        items = [_registration(found[text]) for text in page]
        return answer({"items": items, "next": page[-1] if len(page) == limit else ""})

    def _registered(self, microservice: str) -> list[tuple[RegistrationId, Registration]]:
        if microservice:
            return [(r.id, r) for r in self._site.registrations_of(microservice)]
        return list(self._site.catalog.registrations.items())


def may_describe(site: Site, call: Call, registration: Registration) -> bool:
    """Decide by a registration's objects, by its own name while it has none."""
    names = [Name(obj.name) for obj in registration.everything()]
    names = names or [join(Name(site.authority), registration.id.microservice)]
    return any(_may(site, call, name) for name in names)


def _may(site: Site, call: Call, name: Name) -> bool:
    return site.allowed(call.principal, Action.DESCRIBE, name)


async def leisurely(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items, and let others run now and then."""
    for number, item in enumerate(items):
        if number % SLICE == SLICE - 1:
            await asyncio.sleep(0)
        yield item


def _key(name: str) -> list[str]:
    """Return what names are ordered by: an object stands before its members, then the next."""
    return name.split("/") if name else []


def _below(view: View, name: Name, after: list[str]) -> Iterator[Route]:
    """Yield the Routes at and below a name that come after a key; others are passed over."""
    key = _key(name)
    if key < after[: len(key)]:
        return
    route = view.routes.get(name)
    if route is not None and key > after:
        yield route
    for child in sorted(view.children.get(name, ())):
        yield from _below(view, child, after)


def _registration(registration: Registration) -> dict[str, Any]:
    return {
        **registration.id._asdict(),
        "owner": registration.owner,
        "live": registration.live,
        "lease": registration.lease,
        "objects": len(registration.everything()),
        "description": registration.description,
    }


def _is_live(route: Route) -> bool:
    return route.selection is None or any(True for _ in route.selection.targets())
