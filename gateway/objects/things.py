"""``$site/registry``: Thing Descriptions come, change and go (W3C WoT Discovery 7.3.2.1).

The text that was submitted is the record, byte for byte; what others get of it is a view. Every
change is one entry of the log: the description, and the registration that it means.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from gateway.directory.expiry import end_of, expires_of, wrong
from gateway.directory.views import Views
from gateway.message import Call, Refusal, Status
from gateway.objects.admitting import admit, refuse_clashes
from gateway.objects.answers import (
    SMALL,
    CheckEndpoint,
    Request,
    answer,
    aside,
    options_of,
    read,
    require,
)
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import ADMINISTRATOR, Action
from registry.catalog import Catalog
from registry.changes import Change, Deregistered, Registered, ThingDescribed
from registry.model import Registration, RegistrationId, ThingRecord, VirtualObject
from registry.names import Name
from registry.things.document import InvalidThing, Thing
from registry.things.document import read as read_thing
from registry.things.mapping import object_of
from registry.things.naming import registration_id
from registry.things.patch import patched
from registry.things.view import Bases

TRIES: Final = 8
PRECONDITION: Final = 412
"""What HTTP answers when a condition does not hold (RFC 9110 section 15.5.13)."""


class Options(Request, frozen=True):
    """Which description, and what must hold of it (RFC 9110 section 13.1): beside the payload."""

    id: str = ""
    if_match: str = ""
    if_none_match: str = ""


class _Identified(msgspec.Struct):
    id: str = ""


class _Prepared(NamedTuple):
    """A description that was decided on and may be planned."""

    id: str
    peer: str
    text: str
    name: Name
    obj: VirtualObject
    registration: RegistrationId
    description: str
    expires: int
    anonymous: bool
    warnings: list[str]


class ThingsObject:
    """The methods that write; those of reading are in ``gateway.objects.things_reading``."""

    def __init__(
        self,
        site: Site,
        views: Views,
        check_endpoint: CheckEndpoint,
        random: Callable[[int], bytes],
        *,
        unknown_contexts: bool = False,
    ) -> None:
        self._site = site
        self._read_thing = partial(read_thing, unknown_contexts=unknown_contexts)
        self._views = views
        self._check_endpoint = check_endpoint
        self._random = random

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {
            "create-thing": self.create,
            "put-thing": self.put,
            "patch-thing": self.patch,
            "delete-thing": self.delete,
        }

    async def create(self, call: Call, _: Route, payload: bytes) -> Result:
        """Take a description without an id; it gets one."""
        thing = await self._read(payload)
        if "id" in thing.data:
            detail = "this description has an id: put it there instead (PUT /things/{id})"
            raise Refusal(Status.BAD_REQUEST, detail)
        id_ = uuid.UUID(bytes=self._random(16), version=4).urn
        prepared = await self._prepare(call, thing, id_, anonymous=True)
        return await self._write(call, prepared, Options(if_none_match="*"))

    async def put(self, call: Call, _: Route, payload: bytes) -> Result:
        """Create a description, or replace it whole."""
        asked = options_of(call, Options)
        thing = await self._read(payload)
        own = thing.data.get("id", "")
        id_ = asked.id or own
        known = self._site.catalog.things.get(id_)
        if own and own != id_:
            raise wrong("/id", f"is {own!r}, not {id_!r} as it was put")
        anonymous = not own and known is not None and known.anonymous
        if not own and not anonymous:
            raise wrong("/id", "is missing; create-thing (POST /things) takes anonymous ones")
        prepared = await self._prepare(call, thing, id_, anonymous=anonymous)
        return await self._write(call, prepared, asked)

    async def patch(self, call: Call, __: Route, payload: bytes) -> Result:
        """Change parts of what was submitted (RFC 7396)."""
        asked = options_of(call, Options)
        id_ = asked.id or _id_in(payload)
        for _ in range(TRIES):
            old = self._own(call, self._site.ledger.draft, id_)
            _check(old, asked)
            thing = await self._patched(old.text, payload)
            if thing.data.get("id", old.id) != old.id:
                raise wrong("/id", "an id cannot be changed")
            anonymous = "id" not in thing.data
            if anonymous and not old.anonymous:
                raise wrong("/id", "cannot be taken away")
            prepared = await self._prepare(call, thing, old.id, anonymous=anonymous)
            try:
                return await self._write(call, prepared, Options(old.id, if_match=etag_of(old)))
            except Refusal as refusal:
                if refusal.extra.get("code") != PRECONDITION or asked.if_match:
                    raise
        raise Refusal(Status.CONFLICT, f"others keep changing {id_}", retry_after=1)

    async def delete(self, call: Call, _: Route, payload: bytes) -> Result:
        """Remove a description, and what it registered."""
        asked = await read(call, payload, Options)

        def plan(catalog: Catalog) -> Sequence[Change]:
            old = self._find(call, catalog, asked.id)
            require(self._site, call, Action.DESTROY, old.name, old.owner)
            _check(old, asked)
            return end_of(old)

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"id": asked.id, "deleted": True})

    # Inside

    async def _read(self, payload: bytes) -> Thing:
        """Validate a description, in a thread when it is large; raises Refusal with all errors."""
        try:
            if len(payload) > SMALL:
                return await aside(lambda: self._read_thing(payload))
            return self._read_thing(payload)
        except InvalidThing as error:
            raise invalid_thing(error) from error

    async def _patched(self, text: str, patch: bytes) -> Thing:
        try:
            return await self._read(patched(text, patch))
        except InvalidThing as error:
            raise invalid_thing(error) from error

    async def _prepare(self, call: Call, thing: Thing, id_: str, *, anonymous: bool) -> _Prepared:
        """Decide on the object that a description means, and on all that it is bound to."""
        site = self._site
        refuse_view(thing.data, self._views.bases)
        try:
            name, obj, warnings = object_of(
                thing, site.authority, id_=id_, aliases=site.aliases, remotes=site.remotes
            )
        except InvalidThing as error:
            raise invalid_thing(error) from error
        peer = self._peer(call, id_)
        await admit(
            site, call, [obj], Action.REGISTER, lambda url, _: self._check_endpoint(url, peer)
        )
        return _Prepared(
            id_,
            peer,
            thing.text,
            name,
            obj,
            registration_id(thing.data, name),
            str(thing.data.get("description", ""))[:4096],
            expires_of(thing.data, site.time()),
            anonymous,
            warnings,
        )

    def _peer(self, call: Call, id_: str) -> str:
        """Return whose address a description may lead to: its owner's, whoever changes it."""
        catalog = self._site.catalog
        known = catalog.things.get(id_)
        if known is None or known.owner == call.principal.id:
            return call.peer
        registration = catalog.registrations.get(known.registration)
        return call.peer if registration is None else registration.peer

    async def _write(self, call: Call, new: _Prepared, asked: Options) -> Result:
        """Enter a description and its registration, if what was asked holds then."""
        now = int(self._site.time() * 1000)
        written: list[ThingRecord] = []

        def plan(catalog: Catalog) -> Sequence[Change]:
            known = catalog.things.get(new.id)
            old = None if known is not None and 0 < known.expires <= now else known
            if old is not None:
                self._refuse_foreign(call, old)
            _check(old, asked)
            thing = _record(call, new, old, now)
            self._refuse_taken(call, catalog, new, thing)
            written[:] = [thing]
            # A description that has another name now leaves the old one.
            moved = known is not None and known.registration != thing.registration
            gone = [Deregistered(known.registration)] if known is not None and moved else []
            registration = Registration(
                id=thing.registration,
                owner=thing.owner,
                peer=new.peer,
                lease=0,
                generation=catalog.next_generation(),
                objects=(new.obj,),
                description=new.description,
            )
            return [*gone, Registered(registration), ThingDescribed(thing)]

        await self._site.ledger.change(call.principal.id, plan)
        thing = written[0]
        return answer(
            {
                "id": thing.id,
                "name": thing.name,
                "created": thing.revision == 1,
                "etag": etag_of(thing),
                "warnings": new.warnings,
            }
        )

    def _refuse_taken(
        self, call: Call, catalog: Catalog, new: _Prepared, thing: ThingRecord
    ) -> None:
        """Refuse a name that another description or a manifest has, or another principal."""
        id_ = thing.registration
        refuse_clashes(self._site, call, catalog, thing.owner, id_, [new.obj])
        described = catalog.thing_of.get(new.name)
        if described is not None and described != new.id:
            detail = f"{new.name} is described already, by the id {described}: choose another name"
            raise Refusal(Status.CONFLICT, detail)
        if described is None and (new.name in catalog.names or id_ in catalog.registrations):
            detail = (
                f"{new.name} was registered with a manifest: register it anew to change it, "
                "or choose another name"
            )
            raise Refusal(Status.CONFLICT, detail)

    def _find(self, call: Call, catalog: Catalog, id_: str) -> ThingRecord:
        """Return a description that was submitted and has not expired; raises Refusal."""
        thing = catalog.things.get(id_)
        if thing is None or 0 < thing.expires <= self._site.time() * 1000:
            name = self._views.name_of(id_)
            if name is not None and thing is None and self._views.may(call.principal, name):
                detail = f"{name} was registered with a manifest: its own API changes it"
                raise Refusal(Status.CONFLICT, detail)
            raise Refusal(Status.NOT_FOUND, f"there is no description {id_!r} here")
        if not self._views.may(call.principal, thing.name):
            raise Refusal(Status.NOT_FOUND, f"there is no description {id_!r} here")
        return thing

    def _own(self, call: Call, catalog: Catalog, id_: str) -> ThingRecord:
        thing = self._find(call, catalog, id_)
        self._refuse_foreign(call, thing)
        return thing

    def _refuse_foreign(self, call: Call, thing: ThingRecord) -> None:
        """Refuse who did not submit a description first (design 5)."""
        principal = call.principal
        if thing.owner != principal.id and principal.kind != ADMINISTRATOR:
            detail = f"the id {thing.id} is another principal's: choose another id"
            raise Refusal(Status.CONFLICT, detail)


def _record(call: Call, new: _Prepared, old: ThingRecord | None, now: int) -> ThingRecord:
    """Return the record of a description that replaces ``old``, if there is one."""
    stays = old is not None and old.name == new.name
    return ThingRecord(
        id=new.id,
        name=new.name,
        registration=old.registration if old is not None and stays else new.registration,
        owner=call.principal.id if old is None else old.owner,
        text=new.text,
        created=now if old is None else old.created,
        modified=now,
        revision=1 if old is None else old.revision + 1,
        expires=new.expires,
        anonymous=new.anonymous,
    )


def _id_in(patch: bytes) -> str:
    """Return the id that a patch repeats, "" if it has none."""
    try:
        return msgspec.json.decode(patch, type=_Identified).id
    except ValueError:
        return ""


def etag_of(thing: ThingRecord) -> str:
    """Return the entity tag of a description; one that was deleted never comes again."""
    return f'"{thing.created:x}-{thing.revision}"'


def _check(old: ThingRecord | None, asked: Options) -> None:
    """Refuse what was asked on a condition that does not hold (RFC 9110 section 13.2.2)."""
    etag = None if old is None else etag_of(old)
    if asked.if_match and not _matches(asked.if_match, etag):
        now = "there is none" if etag is None else f"it is {etag}"
        raise _failed(f"the description is not {asked.if_match} any more: {now}")
    if asked.if_none_match and _matches(asked.if_none_match, etag, weak=True):
        raise _failed(f"there is such a description already: {etag}")


def _matches(condition: str, etag: str | None, *, weak: bool = False) -> bool:
    if etag is None:
        return False
    if condition.strip() == "*":
        return True
    tags = [tag.strip() for tag in condition.split(",")]
    return etag in tags or (weak and f"W/{etag}" in tags)


def _failed(detail: str) -> Refusal:
    return Refusal(Status.CONFLICT, detail, extra={"code": PRECONDITION})


def invalid_thing(error: InvalidThing) -> Refusal:
    """Refuse a description with all that is wrong with it (W3C WoT Discovery 7.3.2.1.6)."""
    problems = [
        {"field": p.pointer, "description": f"{p.message}; {p.hint}" if p.hint else p.message}
        for p in error.problems
    ]
    detail = f"the Thing Description is not valid: {error.problems[0]}"
    return Refusal(Status.BAD_REQUEST, detail, extra={"validationErrors": problems})


def refuse_view(document: dict[str, Any], bases: Bases) -> None:
    """Refuse what this site showed, put back: it would be its own upstream (design 8)."""
    text = msgspec.json.encode(document).decode()
    for base in (bases.http, bases.ws, bases.mqtt, bases.coap):
        if base and base in text and any(f'"{base}{end}' in text for end in ('"', "/", "?")):
            detail = (
                f"this is a view: it leads to this site itself ({base}); change what was submitted "
                "instead (?view=submitted)"
            )
            raise wrong("", detail)
