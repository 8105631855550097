"""Policy controllers: methods of microservices, or plug-ins of this process (S3 III-F)."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from gateway.calls import MAX_MESSAGE, ask
from gateway.first_use.uses import SITE
from gateway.message import Call, Refusal, Status
from gateway.site import Site
from policy.access.index import BUILT_IN
from policy.decision import Decision, Question, Reason
from policy.first_use import (
    ANSWER_BYTES,
    CLOCK,
    Covering,
    FirstUseAnswer,
    FirstUseQuestion,
    NoAnswer,
    read_answer,
)
from policy.model import Action, Principal, Value
from registry.names import Name

FOR = "hilum/first-use-of"
"""The label of policies that came with an answer: its value is whom they are about."""
JSON = b"application/json"

Plugin = Callable[[str, FirstUseQuestion], Awaitable[bytes]]
"""Asks a plug-in ``module:attribute``; returns its answer as JSON, raises NoAnswer."""


class SiteRules:
    """What first use has to know of a site's policies; see ``gateway.first_use.Rules``."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def covering(self, action: Action, name: Name) -> Covering | None:
        """Return the most specific FirstUsePolicy for an action on a name."""
        for covering in self._site.policies.first_uses.matching(name):
            if action in covering.policy.actions:
                return covering
        return None

    def is_controller(self, name: Name) -> bool:
        """Whether a name is the method of a controller."""
        return name in self._site.policies.controllers.values()

    def is_by_controller(self, principal: str) -> bool:
        """Whether a principal provides a controller."""
        names = self._site.policies.controllers.values()
        return any(owner_of(self._site, name) == principal for name in names)

    def environment(self) -> Mapping[str, Value]:
        """Return the environment's attributes as they are now, without the time."""
        now = environment_of(self._site)
        return {name: value for name, value in now.items() if name not in CLOCK}


class Controllers:
    """Asks controllers. ``principal_of`` returns who an owner is now, None if nobody."""

    def __init__(
        self, site: Site, principal_of: Callable[[str], Principal | None], plugin: Plugin
    ) -> None:
        self._site = site
        self._principal_of = principal_of
        self._plugin = plugin
        self._apply = Name(f"{site.authority}/$site/policy/apply")

    async def ask(self, covering: Covering, question: FirstUseQuestion) -> FirstUseAnswer:
        """Ask the controller of a policy; raises NoAnswer and Refusal."""
        policy = covering.policy
        if policy.plugin:
            return read_answer(await self._plugin(policy.plugin, question))
        payload = msgspec.json.encode(question)
        seconds = policy.timeout / 1000
        return read_answer(await self._call(SITE, Name(policy.call), payload, seconds))

    async def apply(self, covering: Covering, principal: str, answer: FirstUseAnswer) -> None:
        """Apply an answer's policies as the controller: its own rights decide.

        Each gets the first use's longest time to live unless it says how long it holds.
        """
        policy = covering.policy
        who = SITE
        if policy.call:
            owner = owner_of(self._site, Name(policy.call))
            found = self._principal_of(owner)
            if found is None:
                raise NoAnswer(f"{owner}, whose method it is, has no valid credential")
            who = found
        life = max(1, math.ceil(policy.hard))
        manifests = [_mortal(manifest, life, principal) for manifest in answer.policies]
        payload = msgspec.json.encode(manifests)
        await self._call(who, self._apply, payload, policy.timeout / 1000, MAX_MESSAGE)

    async def _call(
        self, who: Principal, name: Name, payload: bytes, seconds: float, limit: int = ANSWER_BYTES
    ) -> bytes:
        plane = self._site.plane
        self._site.look_at_clock()
        call = Call(Action.CALL, name, who, plane.now + seconds)
        call.content_type = JSON
        call.fields = [b"Content-Type", b": ", JSON, b"\r\n"]
        call.verb = b"POST"
        head, body = await ask(plane, call, payload, limit)
        if head.status is not Status.OK or 300 <= head.code < 400:
            raise NoAnswer(f"{name} answered {head.code or head.status.slug}")
        return body


def owner_of(site: Site, name: Name) -> str:
    """Return who owns a name, "" if nobody has registered it."""
    route = site.view.find(name)
    return route.owner if route is not None else ""


def environment_of(site: Site) -> dict[str, Value]:
    """Return what holds for the whole site: the highest threat level, and all attributes."""
    found: dict[str, Value] = {}
    threat = 0
    for _, spec in sorted(site.policies.environments.items()):
        threat = max(threat, spec.threat)
        found |= spec.attributes
    return {**found, "threat": float(threat), "site": site.authority}


def find_controller(rules: SiteRules, action: Action, name: Name) -> Covering:
    """Return the policy by which a first use is decided; raises Refusal."""
    covering = rules.covering(action, name)
    if covering is None:
        detail = f"no FirstUsePolicy covers {action} of {name}"
        raise Refusal(Status.NOT_FOUND, detail)
    return covering


def with_first_use(site: Site, question: Question, decision: Decision) -> Decision:
    """Return what is decided about a question that no rule decides, or that it would be asked."""
    if decision.allowed or decision.reasons[0].policy != BUILT_IN or question.group:
        return decision
    principal, action, name, owner = question[:4]
    covering, look = SiteRules(site).covering(action, name), site.policies.access.first_uses
    if covering is None or look is None:
        return decision
    answered = look(principal, action, name, owner)
    if answered is not None:
        return answered._replace(reasons=answered.reasons + decision.reasons)
    why = "nobody has asked its controller yet, or its answer has ended"
    return Decision(False, (Reason(covering.label, "asks", why), *decision.reasons))


def _mortal(manifest: dict[str, Any], life: int, principal: str) -> dict[str, Any]:
    """Return a manifest with an end, labelled with whom it is about."""
    metadata = manifest.get("metadata")
    if not isinstance(metadata, dict):
        raise NoAnswer("one of its policies has no metadata")
    labels = metadata.get("labels")
    own = dict(labels) if isinstance(labels, dict) else {}
    if not metadata.get("ttl") and not metadata.get("expires"):
        metadata = {**metadata, "ttl": life}
    return {**manifest, "metadata": {**metadata, "labels": {**own, FOR: principal}}}
