"""What a view must not show: where the things themselves are (design 8). Pure.

Hosts are taken from the base and the forms. A member that is an address there is left out, and in
texts such an address is blotted. Names are not addresses: ``id``, ``@type`` and ``@context`` stay.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, Final

from registry.things import addresses

BLOT: Final = "…"

_TEXTS: Final = frozenset({"title", "titles", "description", "descriptions"})
_NAMES: Final = frozenset({"@id", "@type", "@context", "id"})
_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{0,30}:)?//[^\s\"'<>)\]}]*[^\s\"'<>)\]}.,;:!?]")
_GONE: Final = object()
_KEPT_SCHEMES = ("http", "https", "urn")

Node = dict[str, Any]


class Hidden:
    """The hosts of one description, and what is left of it without them."""

    def __init__(self, data: Node) -> None:
        base = data.get("base", "")
        found = {addresses.host_of(base)}
        for form in _all_forms(data):
            found.add(addresses.host_of(addresses.resolve(base, form["href"]) or ""))
        self._hosts = {host for host in found if host}
        # A bare word may be a host here and mean something else there.
        self._telling = [host for host in self._hosts if "." in host or ":" in host]

    def _member(self, value: Any) -> Any:
        """Return a value without addresses of the thing; ``_GONE`` where it is one."""
        if isinstance(value, dict):
            return self.members(value)
        if isinstance(value, list):
            return [kept for kept in map(self._member, value) if kept is not _GONE]
        if isinstance(value, str) and self._tells(value):
            return _GONE
        return value

    def members(self, node: Node) -> Node:
        """Return an object without those of its members that are addresses of the thing."""
        kept: Node = {}
        for key, value in node.items():
            if key in _NAMES and (isinstance(value, str) or key.startswith("@")):
                kept[key] = value
            elif key in _TEXTS:
                kept[key] = self.text(value)
            else:
                cleaned = self._member(value)
                if cleaned is not _GONE and not (key == "enum" and cleaned == []):
                    kept[key] = cleaned
        return kept

    def text(self, value: Any) -> Any:
        """Return what people read with addresses of the thing blotted."""
        if isinstance(value, dict):
            return {key: self.text(inner) for key, inner in value.items()}
        if not isinstance(value, str) or not self._tells(value):
            return value
        text = _ADDRESS.sub(lambda found: BLOT if self._is_there(found[0]) else found[0], value)
        for host in self._telling:
            text = re.sub(rf"{re.escape(host)}(?::\d+)?", BLOT, text, flags=re.IGNORECASE)
        return text

    def link(self, link: Node) -> Node | None:
        """Return a link unless it leads to the thing: relative, to its host, or to a number."""
        href = link["href"]
        host = addresses.host_of(href)
        if addresses.scheme_of(href) not in _KEPT_SCHEMES or self._is_there(href):
            return None
        if host and (_is_number(host) or host == "localhost"):
            return None
        return self.members(link)

    def _tells(self, text: str) -> bool:
        plain = text.lower()
        if not any(host in plain for host in self._hosts):
            return False
        if plain in self._hosts or plain.rpartition(":")[0] in self._hosts:
            return True
        if any(host in plain for host in self._telling):
            return True
        return any(self._is_there(found) for found in _ADDRESS.findall(text))

    def _is_there(self, uri: str) -> bool:
        return addresses.host_of(uri) in self._hosts


def _all_forms(data: Node) -> Iterator[Node]:
    yield from data.get("forms", ())
    for kind in ("properties", "actions", "events"):
        for affordance in data.get(kind, {}).values():
            yield from affordance["forms"]


def _is_number(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
