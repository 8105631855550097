"""``$site/policy``: what operators write, read and ask about (design 7)."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, invalid, media_type, name_of, read, require
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.decision import Question
from policy.language import ManifestDoc, conflicts, diff, json_schema, parse_manifests, to_record
from policy.model import ADMINISTRATOR, KINDS, Action, Policy, Principal
from registry.catalog import Catalog
from registry.changes import Change, PolicyApplied, PolicyDeleted
from registry.model import PolicyRecord
from registry.names import Name, Pattern
from registry.problems import InvalidDocument

DEEP = "/~/~/~/~/~/~/~/~"
"""A name far below a pattern: only an ``administer`` on ``**`` covers it."""


class Which(Request, frozen=True):
    """A policy, a kind of policies, or all of them."""

    kind: str = ""
    name: str = ""


class Explain(Request, frozen=True):
    """A question about anybody: who may ask has ``call`` on explain."""

    principal: str
    action: Action
    name: str
    kind: str = "service"
    attributes: dict[str, str] = {}
    group: str = ""
    endpoint: str = ""


class PolicyObject:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "apply": self.apply,
            "preview": self.preview,
            "get": self.get,
            "delete": self.delete,
            "explain": self.explain,
            "schema": self.schema,
        }

    async def apply(self, call: Call, _: Route, payload: bytes) -> Result:
        """Create or replace policies: all of them, or none."""
        documents = self._documents(call, payload)
        for document in documents:
            self._administer(call, document.spec)
        outcome: list[dict[str, Any]] = []

        def plan(catalog: Catalog) -> Sequence[Change]:
            outcome.clear()
            self._refuse_conflicts(documents, catalog)
            return [PolicyApplied(r) for r in self._records(call, documents, catalog, outcome)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"applied": outcome})

    async def preview(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say what applying would change and conflict with; nothing is changed."""
        documents = self._documents(call, payload)
        catalog = self._site.catalog
        changes = []
        for document in documents:
            old = catalog.policies.get((document.kind, document.name))
            changes.append(
                {
                    "kind": document.kind,
                    "name": document.name,
                    "result": "replaced" if old else "created",
                    "difference": diff(old, document),
                }
            )
        found = conflicts(self._together(documents, catalog))
        decisions = self._site.policies.different_decisions(documents)
        return answer({"changes": changes, "conflicts": found, "decisions": decisions})

    async def get(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return policies as they were applied."""
        which = read(call, payload, Which)
        records = [
            record
            for (kind, name), record in sorted(self._site.catalog.policies.items())
            if which.kind in ("", kind) and which.name in ("", name)
        ]
        if which.name and not records:
            raise Refusal(Status.NOT_FOUND, f"there is no {which.kind} {which.name}")
        return answer({"items": [_manifest(record) for record in records]})

    async def delete(self, call: Call, _: Route, payload: bytes) -> Result:
        """Delete one policy."""
        which = read(call, payload, Which)

        def plan(catalog: Catalog) -> Sequence[Change]:
            record = catalog.policies.get((which.kind, which.name))
            if record is None:
                detail = f"there is no {which.kind or 'policy'} {which.name!r}"
                raise Refusal(Status.NOT_FOUND, detail)
            spec = msgspec.json.decode(record.spec, type=KINDS[record.kind])
            self._administer(call, spec)
            return [PolicyDeleted(which.kind, which.name)]

        await self._site.ledger.change(call.principal.id, plan)
        return answer({"kind": which.kind, "name": which.name, "deleted": True})

    async def explain(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say how a question is decided and why, and what the name resolves to."""
        asked = read(call, payload, Explain)
        name = name_of(self._site, asked.name, reserved=True)
        route = self._site.view.find(name)
        question = Question(
            Principal(asked.principal, asked.kind, attributes=asked.attributes),
            asked.action,
            name,
            route.owner if route is not None else "",
            asked.group,
            asked.endpoint,
        )
        decision = self._site.plane.access.explain(question)
        targets = []
        if route is not None and route.selection is not None:
            now = self._site.plane.now
            targets = [
                {"target": str(t), "healthy": t.health.ok(now)} for t in route.selection.targets()
            ]
        return answer(
            {
                "allowed": decision.allowed,
                "reasons": [reason._asdict() for reason in decision.reasons],
                "registered": route is not None,
                "resolvesTo": targets,
            }
        )

    async def schema(self, call: Call, route: Route, payload: bytes) -> Result:
        """Return the JSON Schema of policy manifests."""
        return answer(json_schema())

    def _documents(self, call: Call, payload: bytes) -> list[ManifestDoc]:
        site = self._site
        try:
            return parse_manifests(payload, media_type(call), site.authority, site.aliases)
        except InvalidDocument as error:
            raise invalid(error) from error

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
            revision = old.revision if old is not None else 0
            if document.revision is not None and document.revision != revision:
                detail = (
                    f"{document.kind} {document.name} is at revision {revision}, not "
                    f"{document.revision}: get it again and apply your change to that"
                )
                raise Refusal(Status.CONFLICT, detail)
            record = to_record(document, revision=revision + 1, owner=call.principal.id)
            same = old is not None and (old.spec, old.labels) == (record.spec, record.labels)
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

    def _refuse_conflicts(self, documents: Sequence[ManifestDoc], catalog: Catalog) -> None:
        errors = [c for c in conflicts(self._together(documents, catalog)) if c.severe]
        if errors:
            said = "; ".join(c.text for c in errors)
            raise Refusal(Status.CONFLICT, said, extra={"conflicts": [c.text for c in errors]})

    def _together(
        self, documents: Sequence[ManifestDoc], catalog: Catalog
    ) -> dict[tuple[str, str], Policy]:
        """Return the policies as they would be."""
        together = {
            key: msgspec.json.decode(record.spec, type=KINDS[record.kind])
            for key, record in catalog.policies.items()
        }
        together.update({(d.kind, d.name): d.spec for d in documents})
        return together


def _names_in(spec: Policy) -> tuple[str, ...]:
    names = getattr(spec, "names", None)
    if names is not None:
        return tuple(names)
    return tuple(text for text in (spec.name, spec.call) if text)  # type: ignore[union-attr]


def _manifest(record: PolicyRecord) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": record.name, "revision": record.revision}
    if record.labels:
        metadata["labels"] = record.labels
    return {
        "apiVersion": "hilum/v1",
        "kind": record.kind,
        "metadata": metadata,
        "spec": msgspec.json.decode(record.spec),
    }
