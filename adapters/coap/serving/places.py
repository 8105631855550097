"""Where the resource directory is found over CoAP (RFC 9176 sections 4 and 5). Pure.

These paths are taken before names: an object ``rd`` of the site is reached over other protocols.
"""

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol
from urllib.parse import quote

from adapters.coap.wire.links import Link
from policy.model import Action
from registry.names import Name

if TYPE_CHECKING:
    from adapters.coap.serving.turn import Turn


class Place(NamedTuple):
    """A resource of the directory: the site's own method that answers, and for what."""

    method: str
    location: str = ""
    simple: bool = False


class Places(Protocol):
    """Serves the directory's resources."""

    def challenges(self, turn: "Turn") -> bool:
        """Ask who registers to show where it is; return whether that was necessary."""
        ...

    def serve(self, turn: "Turn", payload: bytes) -> None:
        """Answer a request, or begin to."""
        ...


def _link(href: str, rt: str, ct: str) -> Link:
    return Link(href, rt, "", ct, observable=False)


_PLACES: Final = {
    (b"rd",): Place("rd-register"),
    (b"rd-lookup", b"ep"): Place("rd-endpoints"),
    (b"rd-lookup", b"res"): Place("rd-resources"),
    (b".well-known", b"rd"): Place("rd-register", simple=True),
}
LOOKUPS: Final = ("rd-endpoints", "rd-resources")
WELL_KNOWN: Final = "/.well-known/"
_OWN: Final = "$site/registry"
ADVERTISED: Final = (
    (_link("/rd", "core.rd", "40"), Action.CALL, f"{_OWN}/rd-register"),
    (_link("/rd-lookup/ep", "core.rd-lookup-ep", "40"), Action.CALL, f"{_OWN}/rd-endpoints"),
    (_link("/rd-lookup/res", "core.rd-lookup-res", "40"), Action.CALL, f"{_OWN}/rd-resources"),
    (_link("/.well-known/wot", "wot.directory", "432"), Action.DESCRIBE, ".well-known/wot"),
)
"""Links to directories: who sees them may do this with that name."""


def place_of(path: list[bytes]) -> Place | None:
    """Return what a path means here, None for a path of names."""
    if len(path) == 2 and path[0] == b"rd":
        return Place("rd-update", quote(path[1], safe=""))
    return _PLACES.get(tuple(path))


def method_name(authority: str, method: str) -> Name:
    """Return the name of one of the directory's methods."""
    return Name(f"{authority}/{_OWN}/{method}")
