"""Policies of casbin models that others wrote, as manifests: they decide the same, or are refused.

A request of casbin (sub, obj, act, with a domain too) is a question: ``sub`` is the principal
``realm:sub``, ``obj`` the name of the same path (below the domain), ``act`` the action that the
caller's map says. Each row becomes one rule for each alternative of the matcher.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from policy.casbin_exchange.conditions import Conditions
from policy.casbin_exchange.paths import MATCHING, literal
from policy.casbin_exchange.roles import Objects, RoleId, Roles
from policy.casbin_exchange.terms import (
    Case,
    Literal,
    NotExpressible,
    cases_of,
    holds,
    value_of,
    written,
)
from policy.identity.tokens import is_principal
from policy.language import API_VERSION
from policy.model import Action
from registry.names import InvalidName

REQUESTS: Final = (("sub", "obj", "act"), ("sub", "dom", "obj", "act"))
MAX_ROWS: Final = 100_000
_EFFECTS: Final = {
    "some(where(p_eft==allow))": False,
    "some(where(p_eft==allow))&&!some(where(p_eft==deny))": True,
}
"""Effects that are understood, and whether a deny beats an allow."""
_REFUSED: Final = {
    "!some(where(p_eft==deny))": "it allows what nothing denies: Hilum denies what nothing allows",
    "priority(p_eft)||deny": "its rules have an order: in Hilum a deny beats every allow",
    "subjectPriority(p_eft)||deny": "its roles have an order: in Hilum a deny beats every allow",
}

Manifest: TypeAlias = dict[str, Any]
SubjectOf: TypeAlias = tuple[str, str]
"""Principal and role of a subject; "" asks for none."""


class Foreign(NamedTuple):
    """What casbin reads: the names of a request's parts and of a row's columns, rows, links.

    Matcher and effect as casbin keeps them (``r_sub``); ``links`` are the rows of ``g``, ``g2`` ….
    """

    request: tuple[str, ...]
    columns: tuple[str, ...]
    effect: str
    matcher: str
    rows: Sequence[tuple[str, ...]]
    links: Mapping[str, Sequence[tuple[str, ...]]]


class Wishes(NamedTuple):
    """How casbin's words become ours.

    ``actions`` says what each of casbin's actions is here, ``under`` the name that objects lie
    below, ``matching`` the function that a program set for a role manager (``g2``: ``keyMatch2``).
    """

    realm: str
    actions: Mapping[str, Action]
    under: str = ""
    name: str = "casbin"
    matching: Mapping[str, str] = {}


class _Rule(NamedTuple):
    """One rule: who may do what, and when."""

    effect: str
    subjects: tuple[SubjectOf, ...]
    names: tuple[str, ...]
    actions: tuple[str, ...]
    when: str


def manifests_of(foreign: Foreign, wishes: Wishes) -> list[Manifest]:
    """Return manifests that decide as the model does. Raises NotExpressible."""
    _check(foreign, wishes)
    try:
        return _Import(foreign, wishes).manifests()
    except RecursionError:
        raise NotExpressible("the matcher is nested too deeply") from None
    except InvalidName as error:
        raise NotExpressible(str(error)) from error


def _check(foreign: Foreign, wishes: Wishes) -> None:
    if foreign.request not in REQUESTS:
        got = ", ".join(foreign.request)
        raise NotExpressible(f"a request is 'sub, obj, act' or 'sub, dom, obj, act', not {got!r}")
    effect = "".join(foreign.effect.split())
    if effect not in _EFFECTS:
        why = _REFUSED.get(effect, "it is none of casbin's that Hilum has")
        shown = foreign.effect.replace("p_eft", "p.eft")
        raise NotExpressible(f"the effect {shown!r} cannot be said: {why}")
    if len(foreign.rows) > MAX_ROWS:
        raise NotExpressible(f"more than {MAX_ROWS} rows")
    doubled = [a for a in set(wishes.actions.values()) if [*wishes.actions.values()].count(a) > 1]
    if doubled:
        both = ", ".join(sorted(k for k, v in wishes.actions.items() if v == doubled[0]))
        raise NotExpressible(f"{both} would all be {doubled[0]}: give each action one of its own")


class _Import:
    def __init__(self, foreign: Foreign, wishes: Wishes) -> None:
        self._foreign = foreign
        self._wishes = wishes
        self._denies = _EFFECTS["".join(foreign.effect.split())]
        self._has_domain = "dom" in foreign.request
        self._roles = Roles(foreign.links.get("g", ()), wishes.name)
        self._objects: dict[str, Objects] = {}
        self._conditions = Conditions(wishes.realm)

    def manifests(self) -> list[Manifest]:
        rules = _merged(self._rules())
        found = [
            _manifest("AccessPolicy", f"{self._wishes.name}-{number}", _spec(rule))
            for number, rule in enumerate(rules, 1)
        ]
        roles = [_manifest("Role", name, spec) for name, spec in self._roles.specs(self._principal)]
        declared = [
            _manifest("Attribute", f"{self._wishes.name}-{attribute.lower()}", spec)
            for attribute, spec in self._conditions.declarations()
        ]
        return [*declared, *roles, *found]

    def _rules(self) -> Iterator[_Rule]:
        foreign = self._foreign
        rows = foreign.rows or [("",) * len(foreign.columns)]  # As casbin does without any.
        for row in rows:
            if len(row) != len(foreign.columns):
                given = ", ".join(row)
                raise NotExpressible(f"a row has {len(foreign.columns)} columns, not: {given}")
            values = {f"p_{c}": v for c, v in zip(foreign.columns, row, strict=True)}
            effect = (values.get("p_eft") or "allow") if foreign.rows else "allow"
            if effect not in ("allow", "deny"):
                raise NotExpressible(f"a row's effect is allow or deny, not {effect!r}")
            if effect == "deny" and not self._denies:
                continue  # Without a deny in the model's effect such a row says nothing.
            for case in cases_of(foreign.matcher, values):
                rule = self._rule(effect, case)
                if rule is not None:
                    yield rule

    def _rule(self, effect: str, case: Case) -> _Rule | None:
        """Return what one alternative says; None when it can never hold."""
        draft = _Draft(self, case)
        for one in case:
            draft.add(one)
        if not draft.possible:
            return None
        subjects = draft.subjects or (("", ""),)
        when = " and ".join(dict.fromkeys(draft.when))
        return _Rule(effect, subjects, tuple(draft.paths()), tuple(draft.actions), when)

    def _principal(self, sub: str) -> str:
        principal = f"{self._wishes.realm}:{sub}"
        if not is_principal(principal):
            raise NotExpressible(f"{principal!r} is no principal: choose another realm or subject")
        return principal

    # What a draft asks

    @property
    def actions(self) -> Mapping[str, Action]:
        return self._wishes.actions

    @property
    def has_domain(self) -> bool:
        return self._has_domain

    @property
    def conditions(self) -> Conditions:
        return self._conditions

    def under(self, path: str) -> str:
        """Return a path below where all objects lie."""
        return f"{self._wishes.under.strip('/')}/{path}" if self._wishes.under else path

    def subjects(self, sub: str, domain: str | None = None, *, roles: bool) -> list[SubjectOf]:
        """Return who ``sub`` is: the principal of this name, and the members of this role."""
        found = [(self._principal(sub), "")]
        if roles and (name := self._roles.name(RoleId(sub, domain or ""))):
            found.append(("", name))
        return found

    def objects(self, manager: str, obj: str) -> list[str]:
        """Return the patterns of what is linked to an object's role, and itself."""
        if manager not in self._foreign.links:
            raise NotExpressible(f"the model has no role definition {manager}")
        function = self._wishes.matching.get(manager, "")
        if function and function not in MATCHING:
            raise NotExpressible(f"{function} is none of {', '.join(MATCHING)}")
        translate = MATCHING[function] if function else literal
        if manager not in self._objects:
            self._objects[manager] = Objects(self._foreign.links[manager])
        return [translate(one) for one in self._objects[manager].reached(obj)]


class _Draft:
    """What the literals of one alternative ask, put together."""

    def __init__(self, importing: _Import, case: Case) -> None:
        self.possible = True
        self.subjects: tuple[SubjectOf, ...] = ()
        self.actions = dict.fromkeys(str(action) for action in importing.actions.values())
        self.when: list[str] = []
        self._importing = importing
        self._names: tuple[str, ...] = ()
        self._domain = next(filter(None, map(_domain_of, case)), None)

    def add(self, one: Literal) -> None:
        """Put one literal in. Raises NotExpressible."""
        term, negated = one
        if isinstance(term, ast.Call):
            self._call(term, negated)
        elif all(holds(term, action) is not None for action in self._importing.actions):
            actions = self._importing.actions
            self._keep(action for action in actions if holds(term, action) is not negated)
        elif (pair := _compared(term)) is not None:
            self._compare(one, *pair)
        else:
            self.when.append(self._importing.conditions.condition(one))

    def paths(self) -> Iterable[str]:
        """Return the patterns of names."""
        if not self._importing.has_domain:
            return map(self._importing.under, self._names or ("**",))
        domain = literal(self._domain) if self._domain is not None else "*"
        return [self._importing.under(f"{domain}/{name}") for name in self._names or ("**",)]

    def _compare(self, one: Literal, name: str, value: Any, equal: bool) -> None:
        equal = equal is not one.negated
        if name == "r_dom":
            if not equal:
                raise NotExpressible(f"{written(one.term)}: a domain can be asked for only")
            self.possible &= value == self._domain
        elif not equal:
            if name != "r_sub":
                raise NotExpressible(f"{written(one.term)}: an object can be asked for only")
            self.when.append(self._importing.conditions.condition(one))
        elif name == "r_sub":
            self._who(self._importing.subjects(str(value), roles=False))
        else:
            self._what([literal(str(value))])

    def _call(self, term: ast.Call, negated: bool) -> None:
        name = term.func.id if isinstance(term.func, ast.Name) else ""
        asked = term.args[0].id if term.args and isinstance(term.args[0], ast.Name) else ""
        values = [value_of(argument) for argument in term.args[1:]]
        if asked == "r_act" and name in ("regexMatch", "keyMatch") and len(values) == 1:
            self._keep(
                a for a in self._importing.actions if _does(name, a, values[0]) is not negated
            )
        elif negated:
            raise NotExpressible(f"!{written(term)} cannot be said: a name is asked for only")
        elif asked == "r_sub" and name == "g" and 1 <= len(values) <= 2:
            domain = self._domain if len(values) == 2 else None
            if len(values) == 2 and domain is None:
                raise NotExpressible(f"{written(term)} without r.dom == p.dom: add that")
            self._who(self._importing.subjects(str(values[0]), domain, roles=True))
        elif asked == "r_obj" and name in MATCHING and len(values) == 1:
            self._what([MATCHING[name](str(values[0]))])
        elif asked == "r_obj" and re.fullmatch(r"g\d*", name) and len(values) == 1:
            self._what(self._importing.objects(name, str(values[0])))
        else:
            raise NotExpressible(
                f"{written(term)} cannot be said: known are g(r.sub, …), g2(r.obj, …), "
                f"regexMatch(r.act, …) and {', '.join(MATCHING)} of r.obj"
            )

    def _keep(self, actions: Iterable[str]) -> None:
        kept = {str(self._importing.actions[action]) for action in actions}
        self.actions = {action: None for action in self.actions if action in kept}
        self.possible &= bool(self.actions)

    def _who(self, subjects: Iterable[SubjectOf]) -> None:
        given = tuple(subjects)
        if not self.subjects:
            self.subjects = given
            return
        both = (_both(one, other) for one in self.subjects for other in given)
        self.subjects = tuple(dict.fromkeys(subject for subject in both if subject is not None))
        self.possible &= bool(self.subjects)

    def _what(self, names: Sequence[str]) -> None:
        if self._names and tuple(names) != self._names:
            raise NotExpressible("the matcher asks two things of one object: split the policy")
        self._names = tuple(names)


def _domain_of(one: Literal) -> str | None:
    pair = _compared(one.term)
    return str(pair[1]) if pair and pair[0] == "r_dom" and pair[2] is not one.negated else None


def _compared(term: ast.expr) -> tuple[str, Any, bool] | None:
    """Return what a term compares a part of the request with, and whether for being equal."""
    if not isinstance(term, ast.Compare) or len(term.ops) != 1:
        return None
    if not isinstance(term.ops[0], ast.Eq | ast.NotEq):
        return None
    left, right = term.left, term.comparators[0]
    if isinstance(right, ast.Name):
        left, right = right, left
    value = value_of(right)
    if not isinstance(left, ast.Name) or value is NotImplemented:
        return None
    return left.id, value, isinstance(term.ops[0], ast.Eq)


def _does(function: str, action: str, pattern: Any) -> bool:
    """Match an action as casbin does."""
    if function == "keyMatch":
        start, star, _ = str(pattern).partition("*")
        return action.startswith(start) if star else action == pattern
    try:
        return re.match(str(pattern), action) is not None
    except re.error as error:
        raise NotExpressible(f"{pattern!r} is no regular expression: {error}") from None


def _both(one: SubjectOf, other: SubjectOf) -> SubjectOf | None:
    """Return who is both, None when nobody can be."""
    principals = {p for p in (one[0], other[0]) if p}
    roles = {r for r in (one[1], other[1]) if r}
    if len(principals) > 1:
        return None
    if len(roles) > 1:
        raise NotExpressible("the matcher asks for two roles at once: make a role of both")
    return next(iter(principals), ""), next(iter(roles), "")


def _merged(rules: Iterable[_Rule]) -> list[_Rule]:
    """Put rules together that differ in their actions only, then those that differ in names."""
    actions: dict[_Rule, dict[str, None]] = {}
    for rule in rules:
        actions.setdefault(rule._replace(actions=()), {}).update(dict.fromkeys(rule.actions))
    names: dict[_Rule, dict[str, None]] = {}
    for rule, every in actions.items():
        key = rule._replace(actions=tuple(every), names=())
        names.setdefault(key, {}).update(dict.fromkeys(rule.names))
    return [rule._replace(names=tuple(every)) for rule, every in names.items()]


def _spec(rule: _Rule) -> dict[str, Any]:
    subjects = [
        {key: value for key, value in (("principal", who), ("role", role)) if value}
        for who, role in rule.subjects
    ]
    spec: dict[str, Any] = {
        "effect": rule.effect,
        "subjects": subjects,
        "actions": list(rule.actions),
        "names": list(rule.names),
    }
    return spec | ({"when": rule.when} if rule.when else {})


def _manifest(kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": dict(spec),
    }
