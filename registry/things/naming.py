"""How the affordances of a description are named as members of an object. Pure."""

import hashlib
import re
from typing import Any, Final, NamedTuple

from registry.model import RegistrationId
from registry.names import InvalidName, Name, check_registrable, encode_segment, parse_name
from registry.terms import HILUM
from registry.things.affordance_rules import EVENT, OBSERVE, READ, WRITE
from registry.things.contexts import Vocabulary
from registry.things.problems import InvalidThing, Problem

FOLDER: Final = "things"
"""The first segment of the names of things whose ids are no names."""

_URN: Final = "urn:hilum:"
_UUID = re.compile(
    r"urn:uuid:([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.IGNORECASE
)
_SLUG = re.compile(r"[^A-Za-z0-9]+")
_VERSION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?")
_DIGITS: Final = 20


class PropertyNames(NamedTuple):
    """The members that a property may become."""

    read: str
    write: str
    observe: str


class Naming:
    """The names of one description's affordances; the same for mapping and view."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._actions = data.get("actions", {})
        self._properties = data.get("properties", {})

    def action(self, name: str) -> str:
        """Return the method of an action."""
        return encode_segment(name)

    def property(self, name: str) -> PropertyNames:
        """Return the members of a property; an action of its name keeps the bare one."""
        segment = encode_segment(name)
        read = segment + READ if name in self._actions else segment
        return PropertyNames(read, segment + WRITE, segment + OBSERVE)

    def event(self, name: str) -> str:
        """Return the channel of an event; actions and properties keep the bare name."""
        segment = encode_segment(name)
        taken = name in self._actions or name in self._properties
        return segment + EVENT if taken else segment


def object_name(
    data: dict[str, Any], vocabulary: Vocabulary, authority: str, id_: str, **scope: Any
) -> Name:
    """Return the name of the object that a thing becomes. Raises InvalidThing.

    ``hilum:name`` says it; else it is made of the id: that of ``urn:hilum:…``, ``device/<uuid>``,
    or ``things/`` and the id or its digest. An id ``urn:hilum:…`` is that of its own name alone:
    else a description would take the place of another object. ``scope`` are aliases and remotes of
    the site.
    """
    said = vocabulary.meanings(data, HILUM).get("name")
    where, meant = "/id", None
    try:
        if isinstance(said, str):
            where = "/hilum:name"
            name = parse_name(said, authority=authority, **scope)
        elif id_.startswith(_URN):
            name = parse_name(id_, authority=authority, **scope)
        elif uuid := _UUID.fullmatch(id_):
            name = Name(f"{authority}/device/{uuid[1].lower()}")
        else:
            name = Name(f"{authority}/{FOLDER}/{_segment(id_)}")
        check_registrable(name, authority=authority, **scope)
        if id_.lower().startswith(_URN):
            where = "/id"
            meant = parse_name(id_, authority=authority, **scope)
    except InvalidName as error:
        hint = "say another one as hilum:name"
        raise InvalidThing([Problem(where, str(error), hint)]) from None
    if meant not in (None, name):
        hint = f"say {_URN}{name}, or an id that is none of ours"
        raise InvalidThing([Problem("/id", f"this is the id of {meant}, not of {name}", hint)])
    return name


def registration_id(data: dict[str, Any], name: Name) -> RegistrationId:
    """Return the id of the registration that offers a thing's object."""
    slug = _SLUG.sub("-", str(data.get("title", ""))).strip("-")[:64].strip("-")
    version = data.get("version", {}).get("instance", "")
    if not _VERSION.fullmatch(version):
        version = "1"
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return RegistrationId(slug or "thing", version, digest)


def _segment(id_: str) -> str:
    """Return an id as one segment; one with slashes, or a long one, by its end and its digest."""
    try:
        return encode_segment(id_)
    except InvalidName:
        digest = hashlib.sha256(id_.encode()).hexdigest()[:_DIGITS]
        end = _SLUG.sub("-", id_[-64:].rpartition("/")[2]).strip("-")
        return f"{end}-{digest}" if end else digest
