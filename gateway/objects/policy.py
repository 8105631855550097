"""``$site/policy``: what operators write and read (design 7)."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import (
    CheckEndpoint,
    Request,
    answer,
    media_type,
    parsed,
    read,
    require,
)
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.conflicts import Conflict, conflicts, uses
from policy.language import (
    ManifestDoc,
    diff,
    from_record,
    json_schema,
    parse_manifests,
    to_manifest,
    to_record,
)
from policy.model import (
    ADMINISTRATOR,
    KINDS,
    Action,
    Attribute,
    Binding,
    FirstUsePolicy,
    Policy,
    Role,
)
from registry.catalog import Catalog
from registry.changes import Change, PolicyApplied, PolicyDeleted
from registry.model import PolicyRecord
from registry.names import Name, Pattern

EVERYTHING = ("**",)
"""What policies speak of that name nothing: roles, attributes, the environment."""
DEEP = "/~/~/~/~/~/~/~/~"
"""A name far below a pattern: only an ``administer`` on ``**`` covers it."""


class Which(Request, frozen=True):
    """A policy, a kind of policies, or all of them."""

    kind: str = ""
    name: str = ""


class PolicyObject:
    """The handlers."""

    def __init__(self, site: Site, check_endpoint: CheckEndpoint) -> None:
        self._site = site
        self._check_endpoint = check_endpoint

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "apply": self.apply,
            "preview": self.preview,
            "get": self.get,
            "delete": self.delete,
            "schema": self.schema,
        }

    async def apply(self, call: Call, _: Route, payload: bytes) -> Result:
        """Create or replace policies: all of them, or none; a deny needs no working store."""
        documents = await self._documents(call, payload)
        for document in documents:
            self._administer(call, document.spec)
            self._permit_endpoint(call, document.spec)
            await self._check_endpoints(document)
        found = await self._conflicts(documents)
        errors = [conflict.message for conflict in found if conflict.error]
        if errors:
            raise Refusal(Status.CONFLICT, "; ".join(errors), extra={"conflicts": errors})
        outcome: list[dict[str, Any]] = []

        def plan(catalog: Catalog) -> Sequence[Change]:
            outcome.clear()
            return [PolicyApplied(r) for r in self._records(call, documents, catalog, outcome)]

        durable = await self._site.enact(call.principal.id, plan)
        warnings = [str(conflict) for conflict in found]
        return answer({"applied": outcome, "conflicts": warnings, "durable": durable})

    async def preview(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say what applying would change and conflict with; nothing is changed."""
        documents = await self._documents(call, payload)
        for document in documents:
            await self._check_endpoints(document)
        catalog = self._site.catalog
        changes = []
        for document in documents:
            old = catalog.policies.get((document.kind, document.name))
            changes.append(
                {
                    "kind": document.kind,
                    "name": document.name,
                    "result": "replaced" if old else "created",
                    "difference": diff(old, to_record(document, owner="", revision=0)),
                }
            )
        found = await self._conflicts(documents)
        decisions = await self._site.policies.different_decisions(documents)
        return answer(
            {
                "changes": changes,
                "conflicts": [str(conflict) for conflict in found],
                "decisions": decisions,
            }
        )

    async def get(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return policies as they were applied."""
        which = await read(call, payload, Which)
        if which.kind:
            _check_kind(which.kind)
        records = [
            record
            for (kind, name), record in sorted(self._site.catalog.policies.items())
            if which.kind in ("", kind) and which.name in ("", name)
        ]
        if which.name and not records:
            detail = f"there is no {which.kind or 'policy'} {which.name}"
            raise Refusal(Status.NOT_FOUND, detail)
        items = [to_manifest(record) for record in records]
        return answer({"authority": self._site.authority, "items": items})

    async def delete(self, call: Call, _: Route, payload: bytes) -> Result:
        """Delete one policy."""
        which = await read(call, payload, Which)
        _check_kind(which.kind)

        def plan(catalog: Catalog) -> Sequence[Change]:
            record = catalog.policies.get((which.kind, which.name))
            if record is None:
                detail = f"there is no {which.kind} {which.name!r}"
                raise Refusal(Status.NOT_FOUND, detail)
            self._administer(call, from_record(record))
            _refuse_used(self._site, which.kind, which.name)
            return [PolicyDeleted(which.kind, which.name)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"kind": which.kind, "name": which.name, "deleted": True})

    async def schema(self, _: Call, __: Route, ___: bytes) -> Result:
        """Return the JSON Schema of policy manifests."""
        return answer(json_schema())

    async def _documents(self, call: Call, payload: bytes) -> list[ManifestDoc]:
        site = self._site

        def parse() -> list[ManifestDoc]:
            return parse_manifests(
                payload,
                media_type(call),
                site.authority,
                site.aliases,
                site.remotes,
                site.policies.access.declared,
            )

        return await parsed(call, payload, parse)

    async def _check_endpoints(self, document: ManifestDoc) -> None:
        """Refuse a binding to where not even an operator may let calls go (design 5)."""
        spec = document.spec
        url = spec.endpoint or spec.source if isinstance(spec, Binding) else ""
        if url:
            why = await self._check_endpoint(url, "")
            if why is not None:
                detail = f"{document.kind} {document.name}: {url} cannot be bound: {why}"
                raise Refusal(Status.DENIED, detail)

    def _permit_endpoint(self, call: Call, spec: Policy) -> None:
        """Decide ``bind`` of an endpoint, as of a registrant's: it is called from in here."""
        if isinstance(spec, Binding) and call.principal.kind != ADMINISTRATOR:
            url = spec.endpoint or spec.source
            if url:
                require(self._site, call, Action.BIND, Name(spec.name), endpoint=url)

    def _administer(self, call: Call, spec: Policy) -> None:
        """Decide ``administer`` on everything that a policy speaks of.

        A wildcard is covered only by a rule that covers names far below it. Administrators need
        no rule: else a bad policy could lock the last one out.
        """
        if call.principal.kind == ADMINISTRATOR:
            return
        site = self._site
        for text in _names_in(spec):
            pattern = Pattern.parse(text, authority=site.authority, aliases=site.aliases)
            if pattern.literal:
                require(site, call, Action.ADMINISTER, Name(pattern.text))
            else:
                prefix = pattern.prefix or site.authority
                require(site, call, Action.ADMINISTER, Name(prefix))
                require(site, call, Action.ADMINISTER, Name(prefix + DEEP))

    def _records(
        self,
        call: Call,
        documents: Sequence[ManifestDoc],
        catalog: Catalog,
        outcome: list[dict[str, Any]],
    ) -> Iterable[PolicyRecord]:
        for document in documents:
            old = catalog.policies.get((document.kind, document.name))
            if old is not None:  # what it replaces may speak of more
                self._administer(call, from_record(old))
            revision = old.revision if old is not None else 0
            if document.revision not in (0, revision):
                detail = (
                    f"{document.kind} {document.name} is at revision {revision}, not "
                    f"{document.revision}: get it again and apply your change to that"
                )
                raise Refusal(Status.CONFLICT, detail)
            record = to_record(
                document, revision=revision + 1, owner=call.principal.id, now=self._site.time()
            )
            same = old is not None and _content(old) == _content(record)
            result = "unchanged" if same else "replaced" if old else "created"
            outcome.append(
                {
                    "kind": document.kind,
                    "name": document.name,
                    "revision": revision if same else revision + 1,
                    "result": result,
                }
            )
            if not same:
                yield record

    async def _conflicts(self, documents: Sequence[ManifestDoc]) -> list[Conflict]:
        """Return the conflicts of what would be in force; off the loop, it looks at everything."""
        together = self._site.policies.specs()
        changed = {(d.kind, d.name): d.spec for d in documents}
        together.update(changed)
        return await asyncio.to_thread(conflicts, together, changed)


def _refuse_used(site: Site, kind: str, name: str) -> None:
    """Refuse to delete what other policies speak of."""
    if kind in (Role.__name__, Attribute.__name__):
        errors = [conflict.message for conflict in uses(site.policies.specs(), [(kind, name)])]
        if errors:
            raise Refusal(Status.CONFLICT, "; ".join(errors[:10]), extra={"conflicts": errors})


def _content(record: PolicyRecord) -> tuple[str, dict[str, str], int]:
    return record.spec, record.labels, record.expires


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise Refusal(Status.INVALID, f"{kind!r} is no kind: there are {', '.join(KINDS)}")


def _names_in(spec: Policy) -> tuple[str, ...]:
    if isinstance(spec, Binding):
        return tuple(text for text in (spec.name, spec.call) if text)
    if isinstance(spec, FirstUsePolicy) and spec.call:
        return (*spec.names, spec.call)
    return tuple(getattr(spec, "names", EVERYTHING))
