"""What a rendering is made of: a description as its reader may see it, and what is behind it."""

from typing import Any, Final, NamedTuple

from registry.describe import Description
from registry.index.triples import Service
from registry.model import ThingRecord, VirtualObject
from registry.names import Name
from registry.things.view import Bases


class Part(NamedTuple):
    """One object with the members that the reader may describe.

    ``record`` is the Thing Description that was submitted for it, ``services`` the registrations
    that offer it, ``subject`` the IRI that stands for it in RDF.
    """

    name: Name
    obj: VirtualObject
    subject: str
    record: ThingRecord | None = None
    services: tuple[Service, ...] = ()


class Shown(NamedTuple):
    """A description, its objects, and where the site is reached."""

    authority: str
    described: Description
    parts: tuple[Part, ...] = ()
    bases: Bases = Bases()

    @property
    def title(self) -> str:
        """What it is called: a microservice or an object's name within its site."""
        found = self.described
        return str(found.get("microservice") or path_of(found["name"]))

    @property
    def objects(self) -> list[Description]:
        """The objects that are described."""
        found = self.described
        return list(found["objects"]) if "microservice" in found else [found]

    @property
    def registrations(self) -> list[Description]:
        """The registrations of a microservice, none for an object."""
        return list(self.described.get("registrations", ()))

    @property
    def summary(self) -> str:
        """What it says of itself."""
        said = [self.described.get("description", "")]
        said += [each["description"] for each in self.registrations]
        return next((text for text in said if text), "")

    @property
    def version(self) -> str:
        """The versions that are registered; documents must have one."""
        return ", ".join(dict.fromkeys(each["version"] for each in self.registrations)) or "current"


BEARER: Final = "Bearer token that the site issued, or that an issuer did whom it believes."
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def path_of(name: str) -> str:
    """Return a name without its authority: the path, topic and Uri-Path that reach it."""
    return name.partition("/")[2]


def legible(text: str) -> str:
    """Return a text without what could change how the rest of a page reads.

    Control characters and surrogates are replaced, and what reverses or hides text around it
    (UAX 9 and Unicode TR 36); line ends and tabs stay.
    """
    return text.translate(_TRICKS) if not (text.isascii() and text.isprintable()) else text


_INVISIBLE: Final = (
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200B,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xD800, 0xE000),
    0xFEFF,
    *range(0xFFF9, 0xFFFC),
    0xFFFE,
    0xFFFF,
    *range(0xE0000, 0xE0080),
)
_TRICKS: Final = {
    code: "\N{REPLACEMENT CHARACTER}" for code in _INVISIBLE if chr(code) not in "\n\t"
}
