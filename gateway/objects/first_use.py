"""``$site/policy/decide`` and ``revoke``: what controllers decide at first uses (S3 III-F)."""

import asyncio
from collections.abc import Sequence

import msgspec

from gateway.first_use.controllers import FOR, Controllers, SiteRules, find_controller, owner_of
from gateway.first_use.uses import FirstUse
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, name_of, read
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.first_use import FirstUseQuestion, NoAnswer, schemas
from policy.identity.tokens import is_principal
from policy.language import from_record
from policy.model import AccessPolicy, LifecyclePolicy, Value
from registry.names import InvalidName, Name, Pattern


class Revoke(Request, frozen=True):
    """Whose rights end, and under which names: "" stands for all."""

    principal: str
    name: str = ""


class FirstUseObject:
    """The handlers."""

    def __init__(
        self, site: Site, first_use: FirstUse, rules: SiteRules, controllers: Controllers
    ) -> None:
        self._site = site
        self._first_use = first_use
        self._rules = rules
        self._controllers = controllers

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "decide": self.decide,
            "revoke": self.revoke,
            "decide-schema": self.schema,
        }

    async def decide(self, call: Call, _: Route, payload: bytes) -> Result:
        """Relay a question to the controller that decides about its name; nothing is kept.

        What holds now is told where the question does not say otherwise.
        """
        asked = await read(call, payload, FirstUseQuestion)
        name = name_of(self._site, asked.name)
        covering = find_controller(self._rules, asked.action, name)
        now: dict[str, Value] = {**self._rules.environment(), "time": int(self._site.time())}
        question = msgspec.structs.replace(
            asked,
            name=name,
            owner=owner_of(self._site, name),
            environment={**now, **asked.environment},
        )
        try:
            async with asyncio.timeout(covering.policy.timeout / 1000):
                found = await self._controllers.ask(covering, question)
        except (TimeoutError, NoAnswer) as error:
            detail = f"the controller of {covering.label} gave no answer: {error}"
            raise Refusal(Status.UNAVAILABLE, detail, retry_after=1) from error
        return answer(found)

    async def revoke(self, call: Call, _: Route, payload: bytes) -> Result:
        """Take back what controllers have allowed a principal, and end what it has open by that.

        Also withdraws the policies that came with answers about it. All of that is in force at
        once, whether or not the store can write.
        """
        asked = await read(call, payload, Revoke)
        if not is_principal(asked.principal):
            detail = f"{asked.principal!r} is no principal: write realm:subject, such as user:ann"
            raise Refusal(Status.INVALID, detail)
        pattern = self._pattern(asked.name) if asked.name else None

        def covers(name: Name) -> bool:
            return pattern is None or pattern.matches(name)

        policies = self._generated(asked.principal, pattern)
        durable = await self._site.withdraw(call.principal.id, policies)
        self._first_use.revoke(asked.principal, covers)
        self._site.plane.redecide(asked.principal, covers)
        return answer(
            {
                "principal": asked.principal,
                "withdrawn": [f"{kind}/{name}" for kind, name in policies],
                "durable": durable,
            }
        )

    async def schema(self, _: Call, __: Route, ___: bytes) -> Result:
        """Return the JSON Schemas of what a controller is asked and may answer."""
        return answer(schemas())

    def _pattern(self, text: str) -> Pattern:
        site = self._site
        try:
            return Pattern.parse(text, authority=site.authority, aliases=site.aliases)
        except InvalidName as error:
            raise Refusal(Status.BAD_REQUEST, str(error)) from error

    def _generated(self, principal: str, pattern: Pattern | None) -> Sequence[tuple[str, str]]:
        """Return the policies that allow a principal something by a controller's answer.

        With a pattern only those that speak of nothing else.
        """
        found = []
        for key, record in self._site.catalog.policies.items():
            if record.labels.get(FOR) != principal:
                continue
            spec = from_record(record)
            if not isinstance(spec, AccessPolicy | LifecyclePolicy) or spec.effect != "allow":
                continue
            if pattern is None or all(_within(text, pattern) for text in spec.names):
                found.append(key)
        return found


def _within(text: str, pattern: Pattern) -> bool:
    """Whether a policy's (canonical) pattern speaks of names under another one only."""
    return text == pattern.text or ("*" not in text and pattern.matches(Name(text)))
