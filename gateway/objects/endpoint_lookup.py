"""What the resource directory finds: endpoints and their resources (RFC 9176 section 6).

What is found leads through the gateway: targets are names of this site. Who registered an endpoint
may ask for what it submitted (``view=submitted``). A caller finds what it may describe.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any, Final, NamedTuple

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import answer
from gateway.objects.listing import leisurely
from gateway.objects.local import Result
from gateway.site import Site
from policy.model import ADMINISTRATOR, Action, Principal
from registry.endpoints import Hosted, hosted
from registry.link_format import Attribute, Link, matches, parse_links, render_links
from registry.model import DirectoryEndpoint, Registration, RegistrationId
from registry.names import Name
from registry.urls import scheme_of

MICROSERVICE: Final = "resource-directory"
"""What all registrations of endpoints are registrations of."""
PAGE: Final = 1000
"""Most links of one answer."""
AT_ONCE: Final = 4
"""How many may look something up at the same time: each looks at all endpoints."""
FILTERS: Final = 16
PATH: Final = "/rd"
"""The path of the registration resources, over CoAP."""
LINKS: Final = b"application/link-format"


log = logging.getLogger("hilum.directory")


class _Entry(NamedTuple):
    """A registration, read."""

    registration: Registration
    endpoint: DirectoryEndpoint
    name: Name
    resources: list[Hosted]


class _Asked(NamedTuple):
    """What a lookup wants."""

    filters: list[tuple[str, str]]
    start: int
    most: int
    submitted: bool


class EndpointLookup:
    """Finds endpoints and resources; ``base`` is where this site's names are reached, or ""."""

    def __init__(self, site: Site) -> None:
        self.base = ""
        self._site = site
        self._asked = 0
        self._read: dict[RegistrationId, _Entry] = {}
        site.watchers.registrations.append(self._forget)

    async def endpoints(self, call: Call, pairs: Iterable[tuple[str, str]]) -> Result:
        """Return the endpoints that fit, as links to their registrations (section 6.4)."""

        def found(entry: _Entry, asked: _Asked) -> Iterator[Link]:
            own = self._endpoint(entry, submitted=asked.submitted)
            links = list(self._links(entry, call.principal, submitted=asked.submitted))
            if all(
                _fits(own, *each) or any(_fits(link, *each) for link in links)
                for each in asked.filters
            ):
                yield own

        return await self._find(call, pairs, found)

    async def resources(self, call: Call, pairs: Iterable[tuple[str, str]]) -> Result:
        """Return the links that fit (section 6.1)."""

        def found(entry: _Entry, asked: _Asked) -> Iterator[Link]:
            own = self._endpoint(entry, submitted=asked.submitted)
            of_link = [
                each for each in asked.filters if each[0] in ("href", "rt") or not _fits(own, *each)
            ]
            for link in self._links(entry, call.principal, submitted=asked.submitted):
                if all(_fits(link, *each) for each in of_link):
                    yield link

        return await self._find(call, pairs, found)

    async def _find(
        self,
        call: Call,
        pairs: Iterable[tuple[str, str]],
        found: Callable[[_Entry, _Asked], Iterator[Link]],
    ) -> Result:
        asked = _read_query(list(pairs))
        if self._asked >= AT_ONCE:
            raise Refusal(Status.UNAVAILABLE, "too many ask at once", retry_after=1)
        self._asked += 1
        page: list[Link] = []
        passed = 0
        try:
            async for entry in leisurely(self._entries()):
                if not self._may_see(call.principal, entry, submitted=asked.submitted):
                    continue
                for link in found(entry, asked):
                    passed += 1
                    if passed > asked.start:
                        page.append(link)
                    if len(page) == asked.most:
                        return _rendered(call, page)
        finally:
            self._asked -= 1
        return _rendered(call, page)

    def _entries(self) -> Iterator[_Entry]:
        """Yield all that is registered now, in the order of sectors and names."""
        registered = [
            (r.endpoint.sector, r.endpoint.name, r)
            for r in self._site.registrations_of(MICROSERVICE)
            if r.endpoint is not None and r.live
        ]
        registered.sort(key=itemgetter(0, 1))
        for _, _, registration in registered:
            entry = self._read.get(registration.id)
            if entry is None or entry.registration is not registration:
                entry = _entry(registration)
                if entry is None:
                    continue
                self._read[registration.id] = entry
            yield entry

    def _forget(self, id_: RegistrationId) -> None:
        """A registration changed or ended."""
        self._read.pop(id_, None)

    def _may_see(self, principal: Principal, entry: _Entry, *, submitted: bool) -> bool:
        if submitted and principal.kind != ADMINISTRATOR:
            return entry.registration.owner == principal.id
        return self._may(principal, entry.name)

    def _may(self, principal: Principal, name: Name) -> bool:
        return self._site.allowed(principal, Action.DESCRIBE, name)

    def _endpoint(self, entry: _Entry, *, submitted: bool) -> Link:
        """Return an endpoint as a link to its registration resource."""
        registration, endpoint = entry.registration, entry.endpoint
        attributes: list[Attribute] = [("ep", endpoint.name)]
        if endpoint.sector:
            attributes.append(("d", endpoint.sector))
        base = endpoint.base if submitted else self.base
        if base:
            attributes.append(("base", base))
        attributes += [("lt", str(registration.lease)), *endpoint.attributes]
        attributes.append(("rt", "core.rd-ep"))
        return Link(f"{PATH}/{registration.id.instance}", tuple(attributes))

    def _links(self, entry: _Entry, principal: Principal, *, submitted: bool) -> Iterator[Link]:
        """Yield the links of an endpoint that a caller may see, as it is to see them."""
        targets = {each.url: each.member for each in entry.resources if each.member}
        for link, hosts, url in entry.resources:
            if submitted:
                yield Link(url, link.attributes)
                continue
            member = hosts or targets.get(url, "")
            if member and not self._may(principal, Name(f"{entry.name}/{member}")):
                continue
            target = self._through(entry, member) if member else link.target
            if member or scheme_of(link.target) in ("http", "https"):
                yield Link(target, self._attributes(entry, link, targets))

    def _through(self, entry: _Entry, member: str) -> str:
        """Return where a resource is reached by way of this site."""
        path = f"{entry.name}/{member}".partition("/")[2]
        return f"{self.base}/{path}"

    def _attributes(
        self, entry: _Entry, link: Link, targets: dict[str, str]
    ) -> tuple[Attribute, ...]:
        """Return a link's attributes; an anchor leads through this site too, or is not shown."""
        shown: list[Attribute] = []
        for name, value in link.attributes:
            if name != "anchor":
                shown.append((name, value))
                continue
            member = targets.get(_joined(entry.endpoint.base, value or ""), "")
            if member:
                shown.append((name, self._through(entry, member)))
        return tuple(shown)


def _entry(registration: Registration) -> _Entry | None:
    """Read a registration; None if its object was destroyed, or if it is damaged."""
    endpoint = registration.endpoint
    if endpoint is None or not registration.objects:
        return None
    try:
        links = parse_links(endpoint.links.encode())
        resources = hosted(links, endpoint.base)
    except ValueError:
        log.exception("the endpoint %s is damaged: it is not found", registration.id)
        return None
    return _Entry(registration, endpoint, Name(registration.objects[0].name), resources)


def _joined(base: str, anchor: str) -> str:
    return f"{base}{anchor}" if anchor.startswith("/") else anchor


def _read_query(pairs: list[tuple[str, str]]) -> _Asked:
    """Read what a lookup asks for; raises Refusal."""
    filters = [pair for pair in pairs if pair[0] not in ("page", "count", "view")]
    said = dict(pairs)
    if len(filters) > FILTERS:
        raise Refusal(Status.BAD_REQUEST, f"more than {FILTERS} filters")
    if "page" in said and "count" not in said:
        raise Refusal(Status.BAD_REQUEST, "page goes with count: how many make a page")
    count, page = _number(said, "count", PAGE), _number(said, "page", 0)
    if not 1 <= count <= PAGE:
        raise Refusal(Status.BAD_REQUEST, f"count is from 1 to {PAGE}")
    if said.get("view", "submitted") != "submitted":
        raise Refusal(Status.BAD_REQUEST, "view is submitted, or is left out")
    return _Asked(filters, page * count, count, "view" in said)


def _number(said: dict[str, str], name: str, default: int) -> int:
    text = said.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(Status.BAD_REQUEST, f"{name} is a number")
    return int(text)


def _fits(link: Link, name: str, wanted: str) -> bool:
    """Return whether a link fits one filter (section 6.2)."""
    if name == "href":
        return matches(wanted, link.target)
    return any(matches(wanted, value) for value in link.values(name))


def _rendered(call: Call, page: list[Link]) -> Result:
    """Return links in CoRE link format to who asks for it, else as JSON."""
    fields = call.fields
    for at in range(0, len(fields), 4):
        if fields[at].lower() == b"accept" and LINKS in fields[at + 2]:
            return Result(render_links(page), LINKS)
    items: list[dict[str, Any]] = [
        {"href": link.target, **{name: "" if v is None else v for name, v in link.attributes}}
        for link in page
    ]
    return answer({"items": items})
