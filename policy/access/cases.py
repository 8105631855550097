"""Policy tests: tables of questions and the decisions that are expected (docs/policies.md)."""

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from policy.decision import Decision
from policy.identity.tokens import is_kind, is_principal
from policy.model import Action, Attributes, Effect
from registry.documents import InvalidDocument, Path, read_one

MAX_CASES: Final = 5000
SCHEMA_ID: Final = "urn:hilum:schema:policy-test:v1"

Threat: TypeAlias = Annotated[int, Meta(ge=0, le=10)]
At: TypeAlias = float | str
"""Unix seconds, or a time as in RFC 3339."""


class Case(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One question and what is expected of it.

    Without ``kind`` and ``attributes`` the principal is who its credentials at the site say.
    ``because`` is the policy (``Kind/name``, or its name alone) that must be among the reasons.
    ``at`` and ``threat`` are the time and the threat level that it is asked at; else those of now.
    """

    as_: str = field(name="as")
    name: str
    expect: Effect
    do: Action = Action.CALL
    kind: str = ""
    attributes: Attributes = {}
    group: str = ""
    endpoint: str = ""
    at: At = ""
    threat: Threat | None = None
    because: str = ""


Cases: TypeAlias = Annotated[tuple[Case, ...], Meta(min_length=1, max_length=MAX_CASES)]
_CASES: Any = Cases


class Outcome(NamedTuple):
    """What came of a case; ``why`` says it in words."""

    passed: bool
    why: str


def parse_cases(data: bytes, media_type: str) -> tuple[Case, ...]:
    """Read a table of cases, YAML or JSON. Raises InvalidDocument with line and column."""
    document = read_one(data, media_type=media_type)
    cases: tuple[Case, ...] = document.decode(_CASES)
    problems = [
        document.problem(path, message, hint)
        for index, case in enumerate(cases)
        for path, message, hint in _wrong((index,), case)
    ]
    if problems:
        raise InvalidDocument(*problems[:20])
    return cases


def _wrong(path: Path, case: Case) -> list[tuple[Path, str, str]]:
    found: list[tuple[Path, str, str]] = []
    if not is_principal(case.as_):
        hint = "write realm:subject, such as user:ann"
        found.append(((*path, "as"), f"{case.as_!r} is no principal", hint))
    if case.kind and not is_kind(case.kind):
        hint = "use lower-case letters, digits and hyphens"
        found.append(((*path, "kind"), f"{case.kind!r} is no kind of principals", hint))
    return found


def judge(case: Case, decision: Decision) -> Outcome:
    """Compare a decision with what was expected."""
    first = str(decision.reasons[0])
    if decision.allowed is not (case.expect == "allow"):
        return Outcome(False, first)
    if not case.because:
        return Outcome(True, first)
    fitting = [reason for reason in decision.reasons if reason.effect == case.expect]
    for reason in fitting:
        if case.because in (reason.policy, reason.policy.partition("/")[2]):
            return Outcome(True, str(reason))
    because = ", ".join(dict.fromkeys(reason.policy for reason in fitting))
    return Outcome(False, f"not because of {case.because}, but of {because}: {first}")


def summary(outcomes: Sequence[Outcome]) -> Mapping[str, int]:
    """Count what passed and what failed."""
    passed = sum(outcome.passed for outcome in outcomes)
    return {"passed": passed, "failed": len(outcomes) - passed}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a file of cases."""
    schema = msgspec.json.schema(_CASES)
    for body in schema["$defs"].values():
        if "description" in body:
            body["description"] = cleandoc(body["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Hilum policy test",
        **schema,
    }
