"""Access policies as casbin's model and policy text, and back. The only file that imports casbin.

The text is for exchange and for tests: casbin is the reference that the compiled rules must agree
with (evidence: decisions), never what traffic is decided by. A reader in another language needs
three functions beside the text: ``nameMatch`` (a name against a pattern of design 2, ``**`` alone
for any name), ``endpointMatch`` (a URL against a prefix) and ``protected`` (an administrator's
``call`` or ``administer`` under ``$site/policy``). Subjects, groups and prefixes are
percent-encoded.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

import casbin  # type: ignore[import-untyped]
import msgspec
from casbin.persist.adapters.string_adapter import StringAdapter  # type: ignore[import-untyped]

from policy.access import Rules
from policy.decision import Question
from policy.model import ADMINISTRATOR, KINDS, AccessPolicy, Action, LifecyclePolicy, Subject
from registry.names import Pattern
from registry.urls import InvalidUrl, parse_url

MODEL: Final = """\
[request_definition]
r = sub, kind, act, obj, owner, group, endpoint

[policy_definition]
p = eft, sub, kind, act, obj, group, endpoint, policy

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = r.act == p.act && (p.kind == "*" || p.kind == r.kind) && \\
    (p.sub == "*" || p.sub == r.sub || \\
     p.sub == "@owner" && r.sub == r.owner && r.kind != "anonymous") && \\
    (p.group == "*" || p.group == r.group || p.group == "+" && r.group != "") && \\
    (p.endpoint == "*" || endpointMatch(r.endpoint, p.endpoint, p.eft)) && \\
    nameMatch(r.obj, p.obj) && \\
    (p.eft == "allow" || !protected(r.kind, r.act, r.obj))
"""

_BUILT_IN = "built-in"
_SAFE = "!$&':;=?@/+~|^_-."  # Nothing that the lines of any casbin give a meaning to.

PolicyId: TypeAlias = tuple[str, str]
Row: TypeAlias = tuple[str, str, str, str, str, str, str, str]
"""The columns of ``p`` in the model."""
_COLUMNS: Final = 8


class CasbinText(NamedTuple):
    """What casbin reads: a model and the lines of a policy."""

    model: str
    policy: str


def to_casbin(policies: Mapping[PolicyId, Rules], authority: str) -> CasbinText:
    """Write policies with canonical names, and the built-in rules, as casbin's texts."""
    rows = list(_built_in(authority))
    for (kind, name), policy in policies.items():
        rows += _rows(f"{kind}/{name}", policy)
    return CasbinText(MODEL, "".join(f"p, {', '.join(row)}\n" for row in rows))


def from_casbin(text: CasbinText) -> dict[PolicyId, Rules]:
    """Read what ``to_casbin`` wrote, also after rows were added or taken out by hand.

    Rows of one policy that are no longer all combinations of its parts become policies of their
    own (``name.1``, ``name.2``, …). Raises ValueError for another model or a row that fits none.
    """
    if text.model.split() != MODEL.split():
        raise ValueError("the model is not the one that Hilum writes: only its policies are read")
    model = casbin.Enforcer.new_model(text=MODEL)
    StringAdapter(text.policy).load_policy(model)
    by_policy: dict[str, list[Row]] = {}
    for row in model.get_policy("p", "p"):
        if len(row) != _COLUMNS:
            raise ValueError(f"a row has {_COLUMNS} columns, not {len(row)}: {', '.join(row)}")
        if not row[-1].startswith(f"{_BUILT_IN}/"):
            by_policy.setdefault(row[-1], []).append(tuple(row))
    found: dict[PolicyId, Rules] = {}
    for label, rows in by_policy.items():
        kind, _, name = label.partition("/")
        whole = _policy(kind, rows)
        if set(_rows(label, whole)) == set(rows):
            found[kind, name] = whole
        else:
            parts = enumerate(_apart(rows), 1)
            found |= {(kind, f"{name}.{number}"): _exactly(kind, part) for number, part in parts}
    return found


def _apart(rows: Sequence[Row]) -> list[list[Row]]:
    """Put each row on its own; those that differ in the group only say one thing together."""
    parts: dict[Row, list[Row]] = {}
    for row in rows:
        parts.setdefault((*row[:5], "", *row[6:]), []).append(row)
    return list(parts.values())


def _exactly(kind: str, rows: Sequence[Row]) -> Rules:
    policy = _policy(kind, rows)
    if set(_rows(rows[0][-1], policy)) != set(rows):
        raise ValueError(f"no {kind} says just this: {', '.join(rows[0])}")
    return policy


class Reference:
    """Casbin's own evaluation of the texts."""

    def __init__(self, text: CasbinText, authority: str) -> None:
        model = casbin.Enforcer.new_model(text=text.model)
        self._enforcer = casbin.Enforcer(model, StringAdapter(text.policy))
        self._enforcer.logger.disabled = True
        protected = Pattern.parse("$site/policy/**", authority=authority)
        self._enforcer.add_function("nameMatch", name_match)
        self._enforcer.add_function("endpointMatch", endpoint_match)
        self._enforcer.add_function(
            "protected",
            lambda kind, act, obj: (
                kind == ADMINISTRATOR and act in ("call", "administer") and protected.matches(obj)
            ),
        )

    def allows(self, question: Question) -> bool:
        """Ask casbin."""
        principal = question.principal
        return bool(
            self._enforcer.enforce(
                _encode(principal.id),
                principal.kind,
                str(question.action),
                question.name,
                _encode(question.owner) or "-",
                _encode(question.group),
                question.endpoint,
            )
        )


def name_match(name: str, pattern: str) -> bool:
    """Match a name against a pattern: by a regular expression, unlike ``registry.names``."""
    if pattern == "**":
        return True
    parts = _with_commas(pattern).split("/")
    is_open = parts[-1] == "**"
    body = "/".join(
        r"[^/$][^/]*" if part == "*" else re.escape(part)
        for part in (parts[:-1] if is_open else parts)
    )
    return re.fullmatch(body + (r"(?:/[^/$][^/]*)*" if is_open else ""), name) is not None


def endpoint_match(endpoint: str, prefix: str, effect: str) -> bool:
    """Match a URL against an encoded prefix; what cannot be read is denied, never allowed."""
    try:
        url, within = parse_url(endpoint, template=True), parse_url(unquote(prefix))
    except InvalidUrl:
        return effect == "deny" and bool(endpoint)
    return url.may_reach(within) if effect == "deny" else url.within(within)


def _with_commas(pattern: str) -> str:
    """Undo what keeps a pattern in one column; a canonical name never holds ``%2C`` itself."""
    return pattern.replace("%2C", ",")


def _encode(text: str) -> str:
    return quote(text, safe=_SAFE)


def _built_in(authority: str) -> Iterator[Row]:
    label = f"{_BUILT_IN}/administrator"
    for action in (Action.CALL, Action.ADMINISTER):
        name = f"{authority}/$site/policy/**"
        yield "allow", "*", ADMINISTRATOR, str(action), name, "*", "*", label
    for action in (Action.PUBLISH, Action.CREATE, Action.DESTROY):
        yield "allow", "@owner", "*", str(action), "**", "*", "*", f"{_BUILT_IN}/owner"


def _rows(label: str, policy: Rules) -> Iterator[Row]:
    for subject, action, name in itertools.product(policy.subjects, policy.actions, policy.names):
        for group, endpoint in itertools.product(
            _groups(policy, action), _endpoints(policy, action)
        ):
            yield (
                policy.effect,
                subject.principal if subject.principal == "*" else _encode(subject.principal),
                subject.kind,
                str(action),
                name.replace(",", "%2C"),
                group,
                endpoint,
                label,
            )


def _groups(policy: Rules, action: str) -> Sequence[str]:
    """Return the column ``group``: "" is no group, ``+`` any group, ``*`` either."""
    if isinstance(policy, LifecyclePolicy) or action != Action.SUBSCRIBE:
        return ("*",)
    named = ["+" if group == "*" else _encode(group) for group in policy.groups]
    if policy.effect == "allow":
        return ["", *named]
    return named or ("*",)


def _endpoints(policy: Rules, action: str) -> Sequence[str]:
    if isinstance(policy, LifecyclePolicy) and action == Action.BIND and policy.endpoints:
        return [_encode(endpoint) for endpoint in policy.endpoints]
    return ("*",)


def _policy(kind: str, rows: Sequence[Row]) -> Rules:
    """Return the policy that has at least these rows; ValueError when there is no such one."""
    if kind not in (AccessPolicy.__name__, LifecyclePolicy.__name__):
        raise ValueError(f"{kind!r} is no kind of policy that casbin's text holds")
    effects, principals, kinds, actions, names, groups, endpoints, _ = zip(*rows, strict=True)
    subjects = [
        Subject(principal if principal == "*" else unquote(principal), of_kind)
        for principal, of_kind in dict.fromkeys(zip(principals, kinds, strict=True))
    ]
    spec: dict[str, Any] = {
        "effect": effects[0],
        "subjects": subjects,
        "actions": list(dict.fromkeys(actions)),
        "names": [_with_commas(name) for name in dict.fromkeys(names)],
    }
    named = ["*" if group == "+" else unquote(group) for group in _given(groups)]
    urls = [unquote(endpoint) for endpoint in _given(endpoints)]
    spec |= {"groups": named} if named else {}
    spec |= {"endpoints": urls} if urls else {}
    try:
        return msgspec.convert(msgspec.to_builtins(spec), KINDS[kind])  # type: ignore[return-value]
    except msgspec.ValidationError as error:
        raise ValueError(f"a row of {rows[0][-1]} fits no {kind}: {error}") from error


def _given(column: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(column) if value not in ("", "*")]
