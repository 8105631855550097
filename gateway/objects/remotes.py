"""``$site/registry/remotes`` and ``remote-things``: what is known of other sites, and how well."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from gateway.directory.following import Entry, Following, State
from gateway.message import Call
from gateway.objects.answers import Request, answer, read
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action

PAGE = 500
"""Most descriptions of one answer."""


class Of(Request, frozen=True):
    """Descriptions of the things of another site, after the name ``after``."""

    site: str
    after: str = ""
    limit: int = 100


class Nothing(Request, frozen=True):
    """No parameters."""


class RemotesObject:
    """The handlers. A caller sees what it may ``describe`` by the policies here, too."""

    def __init__(self, site: Site, sites: Sequence[Following]) -> None:
        self._site = site
        self._sites = sites

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"remotes": self.remotes, "remote-things": self.things}

    async def remotes(self, call: Call, _: Route, payload: bytes) -> Result:
        """List the sites that are followed, and how well that goes."""
        await read(call, payload, Nothing)
        found = [
            {
                "site": each.authority,
                "state": each.state,
                "objects": len(each.entries),
                "silentSeconds": round(each.silent, 1),
                "problem": each.problem,
                "refused": each.refused,
            }
            for each in self._sites
        ]
        return answer({"remotes": found})

    async def things(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of Thing Descriptions of another site, with its forms."""
        asked = await read(call, payload, Of)
        following = next((s for s in self._sites if s.authority == asked.site), None)
        if following is None:
            return answer({"items": [], "state": State.UNKNOWN, "next": ""})
        entries = self._seen(call, following, asked.after)
        page = list(islice(entries, max(1, min(asked.limit, PAGE))))
        more = next(entries, None) is not None
        items: list[dict[str, Any]] = [entry.view for entry in page]
        return answer(
            {"items": items, "state": following.state, "next": page[-1].name if more else ""}
        )

    def _seen(self, call: Call, following: Following, after: str) -> Iterator[Entry]:
        for name in sorted(name for name in following.entries if name > after):
            if self._site.allowed(call.principal, Action.DESCRIBE, name):
                yield following.entries[name]
