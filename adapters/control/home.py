"""The page of who is logged in: who they are here, until when, and what of the site they may see.

What it shows is asked by calls of theirs, so policies decide it as they decide everything else.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from html import escape
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec
from starlette.requests import Request

from adapters.control.answers import Registrations
from adapters.control.page import document, link, links, table
from adapters.control.sessions import Session
from gateway.calls import ask
from gateway.egress import NOBODY
from gateway.message import Call, Refusal, Status
from gateway.site import Site
from policy.model import Action, Principal
from registry.names import Name

SECONDS: Final = 10.0
"""The deadline of what the page asks."""
ROWS: Final = 50
"""Rows of one table; the link below it leads to all."""
T = TypeVar("T")


class _Spec(msgspec.Struct):
    description: str = ""


class _Metadata(msgspec.Struct):
    name: str


class _Policy(msgspec.Struct):
    """What is shown of a policy, of whatever kind."""

    kind: str
    metadata: _Metadata
    spec: _Spec


class _Policies(msgspec.Struct):
    items: list[_Policy]


class Home:
    """Makes the page. ``clock`` is the loop's time in seconds, ``idle`` those of a session."""

    def __init__(self, site: Site, clock: Callable[[], float], idle: float, version: str) -> None:
        self._site = site
        self._clock = clock
        self._idle = idle
        self._version = version

    async def page(self, request: Request, session: Session) -> str:
        """Return the page of a session."""
        peer = request.client.host if request.client is not None else NOBODY
        who = session.principal
        asked = {"limit": ROWS}
        registered, policies = await asyncio.gather(
            self._ask(who, peer, "registry/registrations", asked, Registrations),
            self._ask(who, peer, "policy/get", {}, _Policies),
        )
        return document(
            f"{who.id} - Hilum",
            f"""<div class="head"><div><h1>Hilum</h1>
<p class="what">The site {escape(self._site.authority)}, version {escape(self._version)}</p></div>
<form method="post" action="/logout"><input type="hidden" name="csrf" value="{session.csrf}">
<button>Log out</button></form></div>
{self._person(who)}
<h2>Registered</h2>{_registered(registered)}
<h2>Policies</h2>{_policies(policies)}
<h2>More</h2>{links()}""",
        )

    def _person(self, who: Principal) -> str:
        end = datetime.fromtimestamp(who.expires, UTC)
        roles = ", ".join(f"<code>{escape(role)}</code>" for role in who.roles) or "none"
        moment = f'<time datetime="{end:%Y-%m-%dT%H:%M:%SZ}">{end:%Y-%m-%d %H:%M} UTC</time>'
        return f"""<dl><dt>You are</dt><dd><strong>{escape(who.id)}</strong></dd>
<dt>Kind</dt><dd>{escape(who.kind)}</dd>
<dt>Roles of your login</dt><dd>{roles}</dd>
<dt>Logged in until</dt><dd>{moment},
or {_span(self._idle)} after the last request</dd></dl>"""

    async def _ask(
        self, who: Principal, peer: str, target: str, asked: dict[str, int], answer: type[T]
    ) -> T | str:
        """Return an answer of one of the site's own methods, or why there is none."""
        name = Name(f"{self._site.authority}/$site/{target}")
        call = Call(Action.CALL, name, who, self._clock() + SECONDS)
        call.peer = peer
        call.content_type = b"application/json"
        try:
            head, body = await ask(self._site.plane, call, msgspec.json.encode(asked))
        except Refusal as refusal:
            denied = refusal.status in (Status.DENIED, Status.NOT_FOUND)
            return "No policy lets you see this." if denied else refusal.detail
        if head.status is not Status.OK:
            return f"This cannot be shown: {head.status.slug}."
        return msgspec.json.decode(body, type=answer)


def _registered(found: Registrations | str) -> str:
    if isinstance(found, str):
        return f"<p>{escape(found)}</p>"
    if not found.items:
        return "<p>Nothing that you may see is registered.</p>"
    rows = [
        (
            link(f"/services/{quote(one.microservice, safe='')}", one.microservice),
            escape(one.version),
            escape(one.owner),
            str(one.objects),
            "yes" if one.live else "no",
        )
        for one in found.items
    ]
    listing = table(("Microservice", "Version", "Owner", "Objects", "Live"), rows)
    return f"{listing}<p>{link('/api/v1/registrations', 'All registrations')} (JSON)</p>"


def _policies(found: _Policies | str) -> str:
    if isinstance(found, str):
        return f"<p>{escape(found)}</p>"
    rows = [_policy(one) for one in found.items[:ROWS]]
    more = f"{len(found.items)} policies, {link('/api/v1/policies', 'all of them')} (JSON)"
    return f"{table(('Kind', 'Name', 'Description'), rows)}<p>{more}</p>"


def _policy(one: _Policy) -> tuple[str, str, str]:
    path = f"/api/v1/policies/{quote(one.kind, safe='')}/{quote(one.metadata.name, safe='')}"
    return escape(one.kind), link(path, one.metadata.name), escape(one.spec.description)


def _span(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes:g} minutes" if minutes == int(minutes) else f"{seconds:g} seconds"
