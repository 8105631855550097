"""``$site/policy``: what is asked about policies (design 7). Nothing here changes anything."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, NamedTuple

from msgspec import Meta, field

from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, invalid, name_of, read
from gateway.objects.local import Handler, Result
from gateway.recent import fill
from gateway.site import Site
from gateway.view import Route
from policy.access import AccessIndex
from policy.cases import Cases, judge, summary
from policy.decision import Decision, Question
from policy.identity import is_kind, is_principal
from policy.language import ManifestDoc, parse_manifests
from policy.model import Action, Attributes, Principal, Value
from registry.documents import InvalidDocument
from registry.model import CredentialRecord, TokenRecord

REALMS = ("user", "device", "service")
"""Realms whose principals are taken to be of that kind when the site knows no credential."""
USUAL_KIND = "service"


class Explain(Request, frozen=True):
    """A question about anybody: who may ask has ``call`` on explain.

    Without ``kind`` the principal is who its credentials at the site say; ``attributes`` stand
    over those that it has from there.
    """

    principal: str
    action: Action
    name: str
    kind: str = ""
    attributes: Attributes = field(default_factory=dict)
    group: str = ""
    endpoint: str = ""


class Test(Request, frozen=True):
    """Cases to decide; ``policies`` are manifests (YAML or JSON) that are tried on top."""

    cases: Cases
    policies: Annotated[str, Meta(max_length=1 << 20)] = ""


class Known(NamedTuple):
    """Who is asked about, and where that is known from: ``given``, ``credential`` or ``realm``."""

    principal: Principal
    known_by: str


class PolicyQuestions:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {"explain": self.explain, "test": self.test}

    async def explain(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say how a question is decided and why, and what the name resolves to."""
        asked = await read(call, payload, Explain)
        known = self._known(asked.principal, asked.kind, asked.attributes)
        question, route = self._question(known.principal, asked)
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
                "principal": known.principal.id,
                "kind": known.principal.kind,
                "knownBy": known.known_by,
                "attributes": known.principal.attributes,
                "registered": route is not None,
                "resolvesTo": targets,
            }
        )

    async def test(self, call: Call, _: Route, payload: bytes) -> Result:
        """Decide a table of cases, with policies on top if any are given; nothing is enforced."""
        asked = await read(call, payload, Test)
        questions = [
            self._question(
                self._known(case.as_, case.kind, case.attributes).principal,
                Explain(case.as_, case.do, case.name, group=case.group, endpoint=case.endpoint),
            )[0]
            for case in asked.cases
        ]
        index = await asyncio.to_thread(self._trial, self._documents(asked.policies))
        decisions = await asyncio.to_thread(_decide, index, questions)
        outcomes = [judge(c, d) for c, d in zip(asked.cases, decisions, strict=True)]
        results = [
            {"allowed": decision.allowed, "passed": outcome.passed, "why": outcome.why}
            for decision, outcome in zip(decisions, outcomes, strict=True)
        ]
        return answer({"results": results, **summary(outcomes)})

    def _question(self, principal: Principal, asked: Explain) -> tuple[Question, Route | None]:
        name = name_of(self._site, asked.name, reserved=True)
        route = self._site.view.find(name)
        owner = route.owner if route is not None else ""
        question = Question(principal, asked.action, name, owner, asked.group, asked.endpoint)
        return question, route

    def _known(self, id_: str, kind: str, attributes: Attributes) -> Known:
        """Return the principal that is asked about; its newest credential says who it is."""
        if not is_principal(id_):
            detail = f"{id_!r} is no principal: write realm:subject, such as user:ann"
            raise Refusal(Status.INVALID, detail)
        if kind and not is_kind(kind):
            detail = f"{kind!r} is no kind: use lower-case letters, digits and hyphens"
            raise Refusal(Status.INVALID, detail)
        catalog, now = self._site.catalog, self._site.time()
        every: Iterator[TokenRecord | CredentialRecord] = chain(
            catalog.tokens.values(), catalog.credentials.values()
        )
        records = [
            record
            for record in every
            if record.principal == id_
            and kind in ("", record.kind)
            and (not record.expires or now < record.expires)
        ]
        if not records:
            realm = id_.partition(":")[0]
            assumed = realm if realm in REALMS else USUAL_KIND
            return Known(
                Principal(id_, kind or assumed, attributes=attributes), "given" if kind else "realm"
            )
        newest = max(records, key=lambda record: record.issued)
        merged: dict[str, Value] = {**newest.attributes, **attributes}
        principal = Principal(id_, newest.kind, credential=newest.id, attributes=merged)
        return Known(principal, "credential")

    def _documents(self, text: str) -> list[ManifestDoc]:
        if not text:
            return []
        site, is_json = self._site, text.lstrip()[:1] in ("{", "[")
        media_type = "application/json" if is_json else "application/yaml"
        try:
            return parse_manifests(
                text.encode(),
                media_type,
                site.authority,
                site.aliases,
                site.remotes,
                site.policies.access.declared,
            )
        except InvalidDocument as error:
            raise invalid(error) from error

    def _trial(self, documents: Sequence[ManifestDoc]) -> AccessIndex:
        """Return an index of its own of what is in force with ``documents`` on top."""
        specs = self._site.policies.specs()
        specs.update({(d.kind, d.name): d.spec for d in documents})
        index = self._site.policies.access.empty()
        fill(index, specs)
        return index


def _decide(index: AccessIndex, questions: Sequence[Question]) -> list[Decision]:
    return [index.decide(question) for question in questions]
