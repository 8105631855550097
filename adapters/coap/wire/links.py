"""CoRE link format: what ``/.well-known/core`` says, and its filters (RFC 6690). Pure."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.view import Route
from registry.model import Kind
from registry.names import Name

FILTERS: Final = frozenset({"href", "rt", "if", "ct", "obs"})
_JSON: Final = "50"
_DESCRIPTION: Final = "50 60"


class Link(NamedTuple):
    """One name as a link; lists of values are separated by spaces (RFC 6690 section 2)."""

    href: str
    rt: str
    interface: str
    ct: str
    observable: bool

    def text(self) -> str:
        """Return the link as it is written."""
        parts = [f'<{self.href}>;rt="{self.rt}"']
        if self.interface:
            parts.append(f'if="{self.interface}"')
        if self.ct:
            parts.append(f"ct={self.ct}" if self.ct.isdigit() else f'ct="{self.ct}"')
        if self.observable:
            parts.append("obs")
        return ";".join(parts)

    def fits(self, filters: dict[str, str]) -> bool:
        """Return whether every filter matches (RFC 6690 section 4.1)."""
        return all(self._fits(name, wanted) for name, wanted in filters.items())

    def _fits(self, name: str, wanted: str) -> bool:
        if name == "href":
            return _matches(wanted, self.href)
        if name == "obs":
            return self.observable
        values = {"rt": self.rt, "if": self.interface, "ct": self.ct}[name]
        return any(_matches(wanted, value) for value in values.split())


def link_of(route: Route) -> Link:
    """Return the link of a name."""
    href = path_of(route.name)
    if route.kind is Kind.CHANNEL:
        schema = route.channel is not None and route.channel.schema is not None
        return Link(href, "hilum.channel", "", _JSON if schema else "", observable=True)
    if route.kind is Kind.OBJECT:
        return Link(href, "hilum.object", "", _DESCRIPTION, observable=False)
    method = route.method
    ct = _JSON if method is not None and method.output is not None else ""
    safe = method is not None and method.safe
    return Link(href, "hilum.method", "hilum.safe" if safe else "", ct, observable=False)


def path_of(name: Name) -> str:
    """Return a name's path in a CoAP URI: its segments are encoded in the same way."""
    return f"/{name.partition('/')[2]}"


def filters_of(parameters: dict[str, str]) -> dict[str, str]:
    """Return the filters among a query's parameters; others mean nothing here."""
    return {name: value for name, value in parameters.items() if name in FILTERS}


def document(links: Iterator[Link] | list[Link]) -> bytes:
    """Return links as a document."""
    return ",".join(link.text() for link in links).encode()


def _matches(wanted: str, value: str) -> bool:
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    return value == wanted
