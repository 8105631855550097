"""Access policies as casbin's model and policy text, and back.

The text is for exchange and for tests: casbin is the reference that the compiled rules must agree
with (evidence: decisions), never what traffic is decided by. Beside the text a reader needs the
functions of ``policy.casbin_functions`` and two about roles and ``$site/policy``. Subjects, groups
and prefixes are percent-encoded. What casbin has no room for stands in comments: ``# hilum`` and a
policy with what its rows do not say; ``# not said`` and what is lost.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

import msgspec
from msgspec.structs import replace

from policy.casbin_exchange.expressions import ALWAYS, NEVER, expression
from policy.casbin_exchange.functions import with_commas
from policy.conditions.condition import InvalidCondition
from policy.conditions.kinds import Schema
from policy.model import (
    ADMINISTRATOR,
    KINDS,
    AccessPolicy,
    Action,
    Assertion,
    Attribute,
    Environment,
    LifecyclePolicy,
    ObjectAttributes,
    Policy,
    Role,
    Subject,
)
from registry.names import Pattern

MODEL: Final = """\
[request_definition]
r = sub, kind, roles, act, obj, owner, group, endpoint, subject, object, environment

[policy_definition]
p = eft, sub, kind, role, act, obj, group, endpoint, when, policy

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = r.act == p.act && (p.kind == "*" || p.kind == r.kind) && \\
    (p.sub == "*" || p.sub == r.sub || \\
     p.sub == "@owner" && r.sub == r.owner && r.kind != "anonymous") && \\
    (p.group == "*" || p.group == r.group || p.group == "+" && r.group != "") && \\
    (p.endpoint == "*" || endpointMatch(r.endpoint, p.endpoint, p.eft)) && \\
    nameMatch(r.obj, p.obj) && \\
    (p.eft == "allow" || !protected(r.kind, r.act, r.obj)) && \\
    (p.role == "*" || g(r.sub + "|*", p.role) || g("*|" + r.kind, p.role) || \\
     g(r.sub + "|" + r.kind, p.role) || g("*|*", p.role) || claims(r.roles, p.role)) && \\
    eval(p.when)
"""

Rules: TypeAlias = AccessPolicy | LifecyclePolicy
PolicyId: TypeAlias = tuple[str, str]
Row: TypeAlias = tuple[str, str, str, str, str, str, str, str, str, str]
"""The columns of ``p`` in the model."""
COLUMNS: Final = 10

_BUILT_IN = "built-in"
_SAFE = "!$&':;=?@/+~|^_-."  # Nothing that the lines of any casbin give a meaning to.
_ASIDE = re.compile(r"# hilum ([A-Za-z]+)/(\S+) (\{.*\})")
_GROUP, _WHEN = 6, 8
"""Columns of a row."""


class CasbinText(NamedTuple):
    """What casbin reads: a model and the lines of a policy."""

    model: str
    policy: str


def encode(text: str) -> str:
    """Return a subject, group or prefix as it stands in a row."""
    return quote(text, safe=_SAFE)


def node_of(role: str) -> str:
    """Return how a role is called in rows of ``g``."""
    return f"Role/{role}"


def to_casbin(policies: Mapping[PolicyId, Policy], authority: str) -> CasbinText:
    """Write policies, and the built-in rules, as casbin's texts; their names become whole."""
    policies = {which: _whole(policy, authority) for which, policy in policies.items()}
    schema = Schema(p for p in policies.values() if isinstance(p, Attribute))
    lines = [_line("p", row) for row in _built_in(authority)]
    for (kind, name), policy in policies.items():
        label = f"{kind}/{name}"
        if isinstance(policy, Role):
            lines += _links(name, policy)
        elif isinstance(policy, Attribute | ObjectAttributes | Assertion | Environment):
            lines.append(_aside(label, policy))
        elif isinstance(policy, AccessPolicy | LifecyclePolicy):
            lines += _rules(label, policy, schema)
    return CasbinText(MODEL, "".join(f"{line}\n" for line in lines))


def is_ours(text: CasbinText) -> bool:
    """Whether a model is the one that ``to_casbin`` writes."""
    return text.model.split() == MODEL.split()


def from_rows(
    rows: Iterable[Sequence[str]], links: Iterable[Sequence[str]], text: str
) -> dict[PolicyId, Policy]:
    """Return the policies of our model's rows, also after some were added or taken out by hand.

    ``text`` is the policy with its comments. Rows of one policy that are no longer all
    combinations of its parts become policies of their own (``name.1``, ``name.2``, …).
    Raises ValueError for a row that fits no policy.
    """
    found, details = _asides(text)
    found |= _roles(links)
    schema = Schema(p for p in found.values() if isinstance(p, Attribute))
    by_policy: dict[str, list[Row]] = {}
    for row in rows:
        if len(row) != COLUMNS:
            raise ValueError(f"a row has {COLUMNS} columns, not {len(row)}: {', '.join(row)}")
        if not row[-1].startswith(f"{_BUILT_IN}/"):
            by_policy.setdefault(row[-1], []).append(tuple(row))  # type: ignore[arg-type]
    for label, of_policy in by_policy.items():
        kind, _, name = label.partition("/")
        reading = _Reading(kind, label, details.get(label, {}), schema)
        whole = reading.policy(of_policy)
        if set(_rows(label, whole, schema)) == set(of_policy):
            found[kind, name] = whole
        else:
            for number, part in enumerate(_apart(of_policy), 1):
                found[kind, f"{name}.{number}"] = reading.exactly(part)
    return found


# Writing


def _whole(policy: Policy, authority: str) -> Policy:
    """Return a policy with canonical names."""
    if not isinstance(policy, AccessPolicy | LifecyclePolicy | ObjectAttributes | Assertion):
        return policy
    names = [Pattern.parse(name, authority=authority).text for name in policy.names]
    return replace(policy, names=tuple(names))


def _line(key: str, cells: Iterable[str]) -> str:
    return f"{key}, {', '.join(cells)}"


def _aside(label: str, value: Any) -> str:
    return f"# hilum {label} {msgspec.json.encode(value).decode()}"


def _rules(label: str, policy: Rules, schema: Schema) -> Iterator[str]:
    if policy.mode == "shadow":
        yield _aside(label, policy)
        yield f"# not said: {label} is in shadow mode: it decides nothing"
        return
    plain = msgspec.to_builtins(policy)
    details = {k: plain[k] for k in ("when", "obligations", "description") if k in plain}
    if details:
        yield _aside(label, details)
    if "obligations" in details:
        yield f"# not said: what {label} obliges to: it is kept in a comment"
    yield from (_line("p", row) for row in _rows(label, policy, schema))


def _links(name: str, role: Role) -> Iterator[str]:
    for subject in role.subjects:
        if subject.role:
            yield f"# not said: Role/{name} asks for another role: that makes nobody a member"
        else:
            yield _line("g", (f"{_cell(subject.principal)}|{subject.kind}", node_of(name)))
    for inherited in role.inherits:
        yield _line("g", (node_of(name), node_of(inherited)))


def _built_in(authority: str) -> Iterator[Row]:
    label = f"{_BUILT_IN}/administrator"
    for action in (Action.CALL, Action.ADMINISTER):
        name = f"{authority}/$site/policy/**"
        yield "allow", "*", ADMINISTRATOR, "*", str(action), name, "*", "*", ALWAYS, label
    label = f"{_BUILT_IN}/owner"
    for action in (Action.PUBLISH, Action.CREATE, Action.DESTROY):
        yield "allow", "@owner", "*", "*", str(action), "**", "*", "*", ALWAYS, label


def _rows(label: str, policy: Rules, schema: Schema) -> Iterator[Row]:
    when = _when(policy, schema)
    for subject, action, name in itertools.product(policy.subjects, policy.actions, policy.names):
        for group, endpoint in itertools.product(
            _groups(policy, action), _endpoints(policy, action)
        ):
            yield (
                policy.effect,
                _cell(subject.principal),
                subject.kind,
                node_of(subject.role) if subject.role else "*",
                str(action),
                name.replace(",", "%2C"),
                group,
                endpoint,
                when,
                label,
            )


def _cell(principal: str) -> str:
    return principal if principal == "*" else encode(principal)


def _when(policy: Rules, schema: Schema) -> str:
    """Return the column ``when``: a condition that cannot be read denies, and allows nothing."""
    try:
        return expression(policy.when, schema, policy.effect)
    except InvalidCondition:
        return NEVER if policy.effect == "allow" else ALWAYS


def _groups(policy: Rules, action: str) -> Sequence[str]:
    """Return the column ``group``: "" is no group, ``+`` any group, ``*`` either."""
    if isinstance(policy, LifecyclePolicy) or action != Action.SUBSCRIBE:
        return ("*",)
    named = ["+" if group == "*" else encode(group) for group in policy.groups]
    if policy.effect == "allow":
        return ["", *named]
    return named or ("*",)


def _endpoints(policy: Rules, action: str) -> Sequence[str]:
    if isinstance(policy, LifecyclePolicy) and action == Action.BIND and policy.endpoints:
        return [encode(endpoint) for endpoint in policy.endpoints]
    return ("*",)


# Reading


def _asides(text: str) -> tuple[dict[PolicyId, Policy], dict[str, dict[str, Any]]]:
    """Return the policies that stand in comments, and what comments add to others."""
    found: dict[PolicyId, Policy] = {}
    details: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        match = _ASIDE.fullmatch(line.strip())
        if match is None:
            continue
        kind, name, said = match.groups()
        try:
            value: dict[str, Any] = msgspec.json.decode(said, type=dict[str, Any])
            if kind in ("AccessPolicy", "LifecyclePolicy") and "effect" not in value:
                details[f"{kind}/{name}"] = value
            else:
                found[kind, name] = msgspec.convert(value, KINDS[kind])
        except (KeyError, msgspec.MsgspecError) as error:
            raise ValueError(f"the comment about {kind}/{name}: {error}") from error
    return found, details


def _roles(links: Iterable[Sequence[str]]) -> dict[PolicyId, Policy]:
    members: dict[str, list[Subject]] = {}
    inherits: dict[str, list[str]] = {}
    for link in links:
        if len(link) != 2 or not link[1].startswith("Role/"):
            raise ValueError(f"a row of g is a member and a Role/…: {', '.join(link)}")
        member, role = link
        name = role.removeprefix("Role/")
        members.setdefault(name, [])
        if member.startswith("Role/"):
            members.setdefault(member.removeprefix("Role/"), [])
            inherits.setdefault(member.removeprefix("Role/"), []).append(name)
        else:
            who, _, kind = member.rpartition("|")
            members[name].append(Subject(who if who == "*" else unquote(who), kind))
    return {
        ("Role", name): Role(tuple(subjects), tuple(inherits.get(name, ())))
        for name, subjects in members.items()
    }


class _Reading(NamedTuple):
    """What the rows of one policy are read with."""

    kind: str
    label: str
    details: Mapping[str, Any]
    schema: Schema

    def exactly(self, rows: Sequence[Row]) -> Rules:
        """Return the policy that says just these rows."""
        policy = self.policy(rows)
        if set(_rows(self.label, policy, self.schema)) != set(rows):
            raise ValueError(f"no {self.kind} says just this: {', '.join(rows[0])}")
        return policy

    def policy(self, rows: Sequence[Row]) -> Rules:
        """Return the policy that has at least these rows; ValueError when there is no such one."""
        if self.kind not in (AccessPolicy.__name__, LifecyclePolicy.__name__):
            raise ValueError(f"{self.kind!r} is no kind of policy that casbin's text holds")
        columns = [list(dict.fromkeys(column)) for column in zip(*rows, strict=True)]
        who = dict.fromkeys((row[1], row[2], row[3]) for row in rows)
        spec: dict[str, Any] = {
            "effect": rows[0][0],
            "subjects": [_subject(*one) for one in who],
            "actions": columns[4],
            "names": [with_commas(name) for name in columns[5]],
            **self.details,
        }
        named = ["*" if group == "+" else unquote(group) for group in _given(columns[_GROUP])]
        urls = [unquote(endpoint) for endpoint in _given(columns[7])]
        spec |= {"groups": named} if named else {}
        spec |= {"endpoints": urls} if urls else {}
        try:
            policy: Rules = msgspec.convert(spec, KINDS[self.kind])  # type: ignore[assignment]
        except msgspec.ValidationError as error:
            raise ValueError(f"a row of {self.label} fits no {self.kind}: {error}") from error
        if columns[_WHEN] != [_when(policy, self.schema)]:
            raise ValueError(
                f"the condition in the rows of {self.label} is not that of the comment "
                "'# hilum' before them: change that, and export again"
            )
        return policy


def _subject(principal: str, kind: str, role: str) -> dict[str, str]:
    who = {"principal": principal if principal == "*" else unquote(principal), "kind": kind}
    return who | ({"role": role.removeprefix("Role/")} if role != "*" else {})


def _given(column: Iterable[str]) -> list[str]:
    return [value for value in column if value not in ("", "*")]


def _apart(rows: Sequence[Row]) -> list[list[Row]]:
    """Put each row on its own; those that differ in the group only say one thing together."""
    parts: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        parts.setdefault((*row[:_GROUP], "", *row[_GROUP + 1 :]), []).append(row)
    return list(parts.values())
