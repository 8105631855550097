"""``$site/policy``: what is asked about policies (design 7). Nothing here changes anything."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, field

from gateway.first_use.controllers import with_first_use
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, invalid, name_of, read
from gateway.objects.local import Handler, Result
from gateway.objects.policy_trial import NOW, Trial, When, when_of
from gateway.site import Site
from gateway.view import Route
from policy.access.cases import At, Cases, Threat, judge, summary
from policy.decision import Decision, Question
from policy.identity.tokens import is_kind, is_principal
from policy.language import ManifestDoc, parse_manifests
from policy.model import AccessPolicy, Action, Attributes, LifecyclePolicy, Principal, Value
from registry.documents import InvalidDocument

REALMS = ("user", "device", "service")
"""Realms whose principals are taken to be of that kind when the site knows no credential."""
USUAL_KIND = "service"
AT_ONCE = 100
"""Cases that are looked at before the loop gets its turn."""


class Explain(Request, frozen=True):
    """A question about anybody: who may ask has ``call`` on explain.

    Without ``kind`` the principal is who its credentials at the site say; ``attributes`` stand
    over those that it has from there. ``at`` and ``threat`` ask what would be then.
    """

    principal: str
    action: Action
    name: str
    kind: str = ""
    attributes: Attributes = field(default_factory=dict)
    group: str = ""
    endpoint: str = ""
    at: At = ""
    threat: Threat | None = None


class Test(Request, frozen=True):
    """Cases to decide; ``policies`` are manifests (YAML or JSON) that are tried on top."""

    cases: Cases
    policies: Annotated[str, Meta(max_length=1 << 20)] = ""


class Shadow(Request, frozen=True):
    """A policy in shadow mode, by its name or ``Kind/name``; or all of them."""

    name: str = ""


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
        return {"explain": self.explain, "test": self.test, "shadow": self.shadow}

    async def explain(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say how a question is decided and why, and what the name resolves to."""
        asked = await read(call, payload, Explain)
        known = self._known(asked.principal, asked.kind, asked.attributes)
        question, route = self._question(known.principal, asked)
        when = when_of(self._site, asked.at, asked.threat)
        index = self._site.policies.access
        if when != NOW:
            trial = Trial(self._site)
            await asyncio.to_thread(trial.fill)
            trial.let(when)
            index = trial.index
        decision = index.explain(question)
        if index is self._site.policies.access:
            decision = with_first_use(self._site, question, decision)
        duties = decision.obligations
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
                "roles": sorted(index.roles_of(known.principal)),
                "objectAttributes": [
                    f._asdict() for f in index.circumstances.explain(question.name)
                ],
                "obligations": msgspec.to_builtins(duties) if duties is not None else {},
                "registered": route is not None,
                "resolvesTo": targets,
            }
        )

    async def test(self, call: Call, _: Route, payload: bytes) -> Result:
        """Decide a table of cases, with policies on top if any are given; nothing is enforced."""
        asked = await read(call, payload, Test)
        questions, times = [], []
        for number, case in enumerate(asked.cases, 1):
            try:
                who = self._known(case.as_, case.kind, case.attributes).principal
                times.append(when_of(self._site, case.at, case.threat))
                question = Explain(case.as_, case.do, case.name, "", {}, case.group, case.endpoint)
                questions.append(self._question(who, question)[0])
            except Refusal as refusal:
                raise Refusal(refusal.status, f"case {number}: {refusal.detail}") from refusal
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        documents = await asyncio.to_thread(self._documents, asked.policies)
        trial = Trial(self._site, documents)
        decisions = await asyncio.to_thread(_decided, trial, questions, times)
        outcomes = [judge(c, d) for c, d in zip(asked.cases, decisions, strict=True)]
        results = [
            {"allowed": decision.allowed, "passed": outcome.passed, "why": outcome.why}
            for decision, outcome in zip(decisions, outcomes, strict=True)
        ]
        return answer({"results": results, **summary(outcomes)})

    async def shadow(self, call: Call, _: Route, payload: bytes) -> Result:
        """Say what policies in shadow mode would have decided differently."""
        asked = await read(call, payload, Shadow)
        shadowed = self._site.policies.access.shadowed
        labels = [
            f"{kind}/{name}"
            for (kind, name), spec in sorted(self._site.policies.specs().items())
            if isinstance(spec, AccessPolicy | LifecyclePolicy)
            and spec.mode == "shadow"
            and asked.name in ("", name, f"{kind}/{name}")
        ]
        if asked.name and not labels:
            raise Refusal(Status.NOT_FOUND, f"there is no policy {asked.name!r} in shadow mode")
        differences = [
            {
                "policy": one.would.reasons[0].policy,
                "principal": one.question.principal.id,
                "action": str(one.question.action),
                "name": one.question.name,
                "allowed": one.decision.allowed,
                "wouldBeAllowed": one.would.allowed,
                "why": one.would.reasons[0].why,
                "at": one.at,
            }
            for one in reversed(shadowed.last)
            if one.would.reasons[0].policy in labels
        ]
        counts = [{"policy": one, "differences": shadowed.counts[one]} for one in labels]
        return answer({"policies": counts, "differences": differences})

    def _question(self, principal: Principal, asked: Explain) -> tuple[Question, Route | None]:
        name = name_of(self._site, asked.name, reserved=True)
        route = self._site.view.find(name)
        owner = route.owner if route is not None else ""
        question = Question(principal, asked.action, name, owner, asked.group, asked.endpoint)
        return question, route

    def _known(self, id_: str, kind: str, attributes: Attributes) -> Known:
        """Return the principal that is asked about; a valid credential says who it is."""
        if not is_principal(id_):
            detail = f"{id_!r} is no principal: write realm:subject, such as user:ann"
            raise Refusal(Status.INVALID, detail)
        if kind and not is_kind(kind):
            detail = f"{kind!r} is no kind: use lower-case letters, digits and hyphens"
            raise Refusal(Status.INVALID, detail)
        found = self._site.identity.known(id_)
        if found is None or kind not in ("", found.kind):
            realm = id_.partition(":")[0]
            assumed = realm if realm in REALMS else USUAL_KIND
            known_by = "given" if kind else "realm"
            return Known(Principal(id_, kind or assumed, attributes=attributes), known_by)
        merged: dict[str, Value] = {**found.attributes, **attributes}
        principal = Principal(id_, found.kind, method=found.method, attributes=merged)
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


def _decided(trial: Trial, questions: Sequence[Question], times: Sequence[When]) -> list[Decision]:
    trial.fill()
    decisions = []
    for question, when in zip(questions, times, strict=True):
        trial.let(when)
        decisions.append(trial.index.decide(question))
    return decisions
