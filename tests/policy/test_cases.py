"""Tables of expected decisions: what is read, and when a case passes."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.access.cases import Case, json_schema, judge, parse_cases, summary
from policy.decision import Decision, Reason
from policy.model import Action
from registry.documents import InvalidDocument

YAML = "application/yaml"
TABLE = b"""\
- {as: "user:ann", do: call, name: Plans/next, expect: allow, because: AccessPolicy/users}
- as: device:scale
  kind: device
  attributes: {floor: 3, tags: [a, b]}
  do: publish
  name: Plans/weights
  at: "2026-03-01T08:00:00Z"
  threat: 5
  expect: deny
"""


def test_a_table_is_read() -> None:
    first, second = parse_cases(TABLE, YAML)
    assert first == Case("user:ann", "Plans/next", "allow", because="AccessPolicy/users")
    assert (second.do, second.attributes) == (Action.PUBLISH, {"floor": 3, "tags": ("a", "b")})
    assert (second.at, second.threat) == ("2026-03-01T08:00:00Z", 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "length"),
        ("- {as: ann, name: x, expect: allow}", "(1, 8) 'ann' is no principal"),
        ("- {as: 'u:a', kind: Ann, name: x, expect: allow}", "(1, 21) 'Ann' is no kind"),
        ("- {as: 'u:a', name: x, expect: maybe}", "invalid enum value"),
        ("- {as: 'u:a', name: x}", "missing key 'expect'"),
        ("- {as: 'u:a', name: x, expect: deny, thread: 3}", "unknown key 'thread'"),
        ("- {as: 'u:a', name: x, expect: deny, threat: 11}", "<= 10"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        parse_cases(text.encode(), YAML)
    problem = caught.value.problems[0]
    told = f"({problem.line}, {problem.column}) {problem.message}"
    assert said in told.replace('"', "'"), told


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for media_type in (YAML, "application/json"):
        with contextlib.suppress(InvalidDocument):
            parse_cases(data, media_type)


ALLOW = Decision(True, (Reason("AccessPolicy/a", "allow", "x"), Reason("Role/b", "near miss", "")))
DENY = Decision(False, (Reason("built-in", "deny", "no policy allows it"),))


@pytest.mark.parametrize(
    ("expect", "because", "decision", "passed", "why"),
    [
        ("allow", "", ALLOW, True, "allow by AccessPolicy/a: x"),
        ("allow", "a", ALLOW, True, "allow by AccessPolicy/a: x"),
        ("allow", "AccessPolicy/a", ALLOW, True, "allow by AccessPolicy/a: x"),
        ("allow", "b", ALLOW, False, "not because of b, but of AccessPolicy/a"),
        ("deny", "", ALLOW, False, "allow by AccessPolicy/a"),
        ("deny", "built-in", DENY, True, "no policy allows it"),
        ("allow", "built-in", DENY, False, "no policy allows it"),
    ],
)
def test_a_case_passes_when_the_decision_and_its_reason_are_as_expected(
    expect: str, because: str, decision: Decision, passed: bool, why: str
) -> None:
    case = Case("u:a", "x", expect, because=because)  # type: ignore[arg-type]
    outcome = judge(case, decision)
    assert outcome.passed is passed
    assert why in outcome.why
    assert summary([outcome]) == {"passed": int(passed), "failed": int(not passed)}


def test_the_schema_names_every_key() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"].endswith("2020-12/schema")
    properties = schema["$defs"]["Case"]["properties"]
    assert {"as", "do", "name", "expect", "because", "threat", "at"} <= set(properties)
