"""Casbin itself: it reads texts, and decides with them. The only file that imports it."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import casbin  # type: ignore[import-untyped]
from casbin.persist.adapters.string_adapter import StringAdapter  # type: ignore[import-untyped]

from policy.casbin_exchange.functions import FUNCTIONS
from policy.casbin_exchange.importing import Foreign
from policy.casbin_exchange.terms import NotExpressible
from policy.casbin_exchange.text import CasbinText, PolicyId, encode, from_rows, is_ours, node_of
from policy.conditions.facts import Facts
from policy.decision import Question
from policy.model import ADMINISTRATOR, Policy, Principal
from registry.names import Pattern

_DEFINITIONS = (("r", "request"), ("p", "policy"), ("e", "effect"), ("m", "matcher"))


def from_casbin(text: CasbinText) -> dict[PolicyId, Policy]:
    """Read what ``to_casbin`` wrote, as ``from_rows``. Raises ValueError."""
    if not is_ours(text):
        raise ValueError("the model is not the one that Hilum writes")
    foreign = read_foreign(text)
    return from_rows(foreign.rows, foreign.links.get("g", ()), text.policy)


def read_foreign(text: CasbinText) -> Foreign:
    """Read a model and policy that others wrote, as casbin does. Raises NotExpressible."""
    try:
        model = _load(text)
    except Exception as error:  # Casbin raises whatever its reader stumbles over.
        said = f"casbin cannot read this ({error or type(error).__name__})"
        hint = "is the one a model, with [request_definition], and the other its policy?"
        raise NotExpressible(f"{said}: {hint}") from error
    sections = model.model
    for section, name in _DEFINITIONS:
        if len(sections.get(section, ())) != 1:
            count = len(sections.get(section, ()))
            raise NotExpressible(f"a model has one {name} definition, this one has {count}")
    links = {k: [tuple(row) for row in one.policy] for k, one in sections.get("g", {}).items()}
    return Foreign(
        tuple(token.removeprefix("r_") for token in sections["r"]["r"].tokens),
        tuple(token.removeprefix("p_") for token in sections["p"]["p"].tokens),
        sections["e"]["e"].value,
        sections["m"]["m"].value,
        [tuple(row) for row in sections["p"]["p"].policy],
        links,
    )


def _load(text: CasbinText) -> Any:
    model = casbin.Enforcer.new_model(text=text.model)
    if text.policy.strip():  # Some models need no policy, but casbin refuses an empty one.
        StringAdapter(text.policy).load_policy(model)
    return model


class Reference:
    """Casbin's own evaluation of our texts."""

    def __init__(self, text: CasbinText, authority: str) -> None:
        model = casbin.Enforcer.new_model(text=text.model)
        self._enforcer = casbin.Enforcer(model, StringAdapter(text.policy))
        self._enforcer.logger.disabled = True
        self._links = self._enforcer.get_role_manager()
        protected = Pattern.parse("$site/policy/**", authority=authority)
        for name, function in FUNCTIONS.items():
            self._enforcer.add_function(name, function)
        self._enforcer.add_function("claims", self._claims)
        self._enforcer.add_function(
            "protected",
            lambda kind, act, obj: (
                kind == ADMINISTRATOR and act in ("call", "administer") and protected.matches(obj)
            ),
        )

    def allows(self, question: Question, facts: Facts | None = None) -> bool:
        """Ask casbin."""
        principal, facts = question.principal, facts or Facts()
        return bool(
            self._enforcer.enforce(
                encode(principal.id),
                principal.kind,
                principal.roles,
                str(question.action),
                question.name,
                encode(question.owner) or "-",
                encode(question.group),
                question.endpoint,
                self._subject(principal),
                _space(facts.objects(question.name), name=str(question.name), owner=question.owner),
                _space(facts.environment),
            )
        )

    def _subject(self, principal: Principal) -> SimpleNamespace:
        return _space(
            principal.attributes,
            id=principal.id,
            kind=principal.kind,
            realm=principal.id.partition(":")[0],
            method=principal.method,
            roles=self._roles(principal),
        )

    def _claims(self, roles: tuple[str, ...], wanted: str) -> bool:
        """Whether a credential says a role, or one that inherits it."""
        return any(self._links.has_link(node_of(role), wanted) for role in roles)

    def _roles(self, principal: Principal) -> frozenset[str]:
        """Return the roles of a principal by all links."""
        whos, kinds = ("*", encode(principal.id)), ("*", principal.kind)
        waiting = [f"{who}|{kind}" for who in whos for kind in kinds]
        waiting += map(node_of, principal.roles)
        found: set[str] = set()
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting += self._links.get_roles(node)
        return frozenset(n.removeprefix("Role/") for n in found if n.startswith("Role/"))


def _space(attributes: Mapping[str, Any], **given: Any) -> SimpleNamespace:
    return SimpleNamespace(**{**attributes, **given})
