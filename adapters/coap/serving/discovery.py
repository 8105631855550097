"""``/.well-known/core``: the names that the caller may describe, as links (RFC 6690)."""

import asyncio
from collections.abc import Iterator
from typing import Final

from adapters.coap.serving.asked import parameters
from adapters.coap.serving.places import ADVERTISED, WELL_KNOWN
from adapters.coap.wire import links
from gateway.message import Refusal, Status
from gateway.site import Site
from policy.model import Action, Principal
from registry.names import Name, is_reserved

LINKS_AT_MOST: Final = 10_000
"""Links of one answer; in a larger site a filter finds the others."""
AT_ONCE: Final = 4
"""How many may ask at the same time what there is: each looks at all names."""
SLICE: Final = 256
"""Names that are looked at before others may run."""


class Discovery:
    """Finds links."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._asked = 0

    async def find(self, principal: Principal, queries: list[bytes]) -> bytes:
        """Return the links that a principal may see and that fit a query.

        Raises Bad for a query that cannot be read, and Refusal when too many ask at once.
        """
        if self._asked >= AT_ONCE:
            raise Refusal(Status.UNAVAILABLE, "too many ask at once", retry_after=1)
        filters = links.filters_of(parameters(queries))
        self._asked += 1
        try:
            return await self._find(principal, filters)
        finally:
            self._asked -= 1

    async def _find(self, principal: Principal, filters: dict[str, str]) -> bytes:
        found = [link for link in self._directories(principal) if link.fits(filters)]
        routes = self._site.view.routes
        for number, name in enumerate(tuple(routes), 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            route = routes.get(name)
            if route is None or is_reserved(name) or WELL_KNOWN in name:
                continue
            link = links.link_of(route)
            if link.fits(filters) and self._site.allowed(principal, Action.DESCRIBE, name):
                found.append(link)
                if len(found) >= LINKS_AT_MOST:
                    break
        return links.document(sorted(found))

    def _directories(self, principal: Principal) -> Iterator[links.Link]:
        """Yield where what is registered is found (RFC 9176 section 4.3, WoT Discovery 6.3)."""
        site = self._site
        for link, action, path in ADVERTISED:
            name = Name(f"{site.authority}/{path}")
            if name in site.view.routes and site.allowed(principal, action, name):
                yield link
