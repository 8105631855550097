"""Conditions: what they mean, what they refuse and where, failures, the clock, explanations."""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy.conditions.condition import Condition, Failure, Guard, parse
from policy.conditions.facts import DAY, Facts
from policy.conditions.kinds import BUILT_IN, Schema
from policy.conditions.parser import MAX_DEPTH
from policy.conditions.tokens import KEYWORDS, MAX_LENGTH, MAX_TOKENS, InvalidCondition
from policy.decision import Question
from policy.model import Action, Attribute, Principal, Value
from registry.names import Name

RANKS = ("Nurse", "AttendingDoctor", "Chief")
SCHEMA = Schema(
    [
        Attribute("subject.rank", "ordered", RANKS),
        Attribute("object.least", "ordered", RANKS),
        Attribute("subject.dept"),
        Attribute("subject.level", "number"),
        Attribute("object.level", "number"),
        Attribute("subject.certified", "boolean"),
        Attribute("subject.groups", "set"),
        Attribute("subject.campus", "path"),
        Attribute("object.place", "path"),
    ]
)
ANN = Principal(
    "hospital:ann",
    "person",
    method="jwt",
    attributes={
        "rank": "AttendingDoctor",
        "dept": "heart",
        "level": 4.0,
        "certified": True,
        "groups": ("red", "AttendingDoctor"),
        "campus": "campus",
        "roles": ("doctor",),
    },
)
THING = {"place": "campus/b1/r2", "least": "Nurse", "level": 2, "kind": "method"}
QUESTION = Question(ANN, Action.CALL, Name("snac.asu.edu/w/plan"), "hospital:ann")
NOON = 1_700_222_400.0
"""2023-11-17 12:00:00 UTC, a Friday."""


def facts(now: float = NOON, **environment: Value) -> Facts:
    made = Facts(lambda _: THING)
    made.environment.update(environment)
    made.look(now, 0)
    return made


def held(
    text: str, now: float = NOON, who: Principal = ANN, **environment: Value
) -> bool | Failure:
    question = QUESTION._replace(principal=who)
    return parse(text, SCHEMA).holds(question, facts(now, **environment))


@pytest.mark.parametrize(
    "text",
    [
        "object.level >= 2",
        "subject.rank >= AttendingDoctor",
        'subject.rank > "Nurse"',
        "Nurse < subject.rank",
        "subject.rank in {Chief, AttendingDoctor}",
        "subject.rank in Nurse..AttendingDoctor",
        "subject.rank >= object.least",
        "subject.rank != Chief",
        "subject.rank in subject.groups",
        "subject.groups contains subject.rank",
        'subject.dept == "heart"',
        "'heart' == subject.dept",
        'subject.dept in {"heart", "lung"}',
        'subject.dept startsWith "hea"',
        'subject.groups contains "red" and not subject.groups contains "blue"',
        "subject.dept in subject.groups or subject.roles contains 'doctor'",
        'object.place within "campus/b1"',
        'object.place within "campus/b1/"',
        'object.place within "campus/b1/r2"',
        "object.place within subject.campus",
        'not object.place within "campus/b"',
        'object.place == "campus/b1/r2"',
        'object.name within "snac.asu.edu/w"',
        "subject.campus != object.place",
        "subject.level in 1..4",
        "not subject.level in {1, -4}",
        "subject.level in -1..4.5",
        "subject.level + object.level * 2 == 8",
        "(subject.level + object.level) * 2 == 12",
        "subject.level - 1 - 1 == 2",
        "subject.level / 2 == 2 and subject.level % 3 == 1",
        "-subject.level == -4 and - 4 == -subject.level",
        "10 > -(-subject.level)",
        "subject.certified",
        "subject.certified == true",
        "not not subject.certified",
        "true and not false",
        "true and true and 1 < 2",
        "not (true and 1 > 2 and true)",
        "1 == 1",
        "subject.id == object.owner",
        'subject.realm == "hospital" and subject.kind == "person" and subject.method == "jwt"',
        'object.kind == "method"',
        "has subject.rank and has subject.id and not has object.version",
        "environment.time in 08:00..18:00",
        "environment.time in 11:00..06:00",
        "environment.time >= 12:00:00 and environment.time < 24:00",
        "environment.time in {12:00}",
        "environment.weekday == Friday",
        "environment.weekday in Monday..Friday",
        "environment.date == 2023-11-17",
        "environment.date in 2023-01-01..2023-12-31",
        "environment.threat < 3",
        r'"a\"b\\" == "a\"b\\"',
    ],
)
def test_what_holds(text: str) -> None:
    assert held(text, threat=1) is True
    assert held(f"not ({text})", threat=1) is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('subject.dept == "x" and subject.level / 0 > 1', None),
        ("subject.level > 1 or subject.level / 0 > 1", None),
        ("subject.level / 0 > 1", "subject.level / 0 divides by zero"),
        ("subject.level % (object.level - 2) > 1", "divides by zero"),
        ("object.version == '1'", "object.version is missing"),
        ("environment.threat > 0", "environment.threat is missing"),
        ("not environment.threat > 0", "environment.threat is missing"),
    ],
)
def test_what_has_no_answer_fails_unless_it_is_known_before(text: str, why: str | None) -> None:
    answer = held(text)
    if why is None:
        assert isinstance(answer, bool)
    else:
        assert isinstance(answer, Failure)
        assert why in answer.why


@pytest.mark.parametrize(
    ("attribute", "value", "test", "why"),
    [
        ("level", "4", "subject.level > 1", "'4', not a number"),
        ("level", True, "subject.level > 1", "'True', not a number"),
        ("level", 10**400, "subject.level > 1", "not a number"),
        ("rank", "Porter", "subject.rank > Nurse", "'Porter', not one of Nurse"),
        ("rank", 3.0, "subject.rank == Nurse", "'3.0', not one of"),
        ("dept", ("a",), "subject.dept == 'a'", "not a string"),
        ("groups", "red", "subject.groups contains 'r'", "not a set"),
        ("certified", "true", "subject.certified", "'true', not a boolean"),
    ],
)
def test_a_value_of_another_type_fails(attribute: str, value: Any, test: str, why: str) -> None:
    answer = held(test, who=Principal("a:b", "person", attributes={attribute: value}))
    assert isinstance(answer, Failure)
    assert why in answer.why


@pytest.mark.parametrize(
    ("text", "offset", "message", "hint"),
    [
        ("", 0, "ends too early", ""),
        ("subject.rnak > Nurse", 0, "no attribute subject.rnak", "did you mean subject.rank?"),
        ("subject.rnak > Nurse", 0, "no attribute subject.rnak", "a policy of the kind Attribute"),
        ("true and object.zzzzzzzzzzzz", 9, "no attribute", "declare it"),
        ("subject.rank == Nurs", 13, "Nurs is not one of", "did you mean Nurse?"),
        ("subject.rank == Zz9", 13, "Zz9 is not one of", "use one of"),
        ("subject.dept == heart", 13, "heart means nothing", "in quotes"),
        ("heart == subject.dept", 0, "heart means nothing", "in quotes"),
        ("a == b", 0, "a means nothing", ""),
        ("'a' == b", 4, "b means nothing", ""),
        ("rank", 0, "rank means nothing", "subject.rank"),
        ("subject.dept > 'a'", 13, "it has no order", "ordered"),
        ("subject.dept == 3", 13, "3 is a number, not a string", ""),
        ("subject.dept == subject.level", 13, "subject.dept is a string and", ""),
        ("subject.groups == subject.roles", 15, "sets are not compared", "contains"),
        ("subject.dept contains 'a'", 0, "before contains must be a set", ""),
        ("subject.groups contains red", 24, "red means nothing", ""),
        ("subject.groups contains 3", 24, "must be a string", "quotes"),
        ("subject.level within 'a'", 0, "must be a string or path", ""),
        ("subject.level in subject.groups", 0, "sets hold strings", ""),
        ("subject.dept in subject.level", 16, "must be a set", ""),
        ("subject.dept in 'a'..'b'", 0, "it has no range", "{...}"),
        ("subject.level in 1", 18, "a range is low..high", ""),
        ("subject.level in {1", 19, "a set without its end", ""),
        ("subject.level in {-'a'}", 18, "must be a number", ""),
        ("subject.level in {", 18, "ends too early", ""),
        ("(true", 0, "a parenthesis without its end", ""),
        ("true true", 5, "'true' is not expected", "and, or"),
        ("true )", 5, "')' is not expected", ""),
        ("and", 0, "'and' is not expected", ""),
        ("1 + 1", 0, "a condition must be a boolean, not a number", ""),
        ("1 + true > 1", 4, "what follows + must be a number", ""),
        ("true + 1 > 1", 0, "before + must be a number", ""),
        ("not 1", 4, "what follows not", ""),
        ("-true", 0, "what follows - must be", ""),
        ("true and 1", 9, "what follows and", ""),
        ("1 or true", 0, "what stands before or", ""),
        ("has 3", 4, "has asks for an attribute", ""),
        ("'abc", 0, "a string without its end", "close it"),
        ("subject.level = 3", 14, "'=' means nothing here", "=="),
        ("true ; false", 5, "';' means nothing here", ""),
        ("environment.time > 25:00", 19, "no time of day", ""),
        ("environment.time > 12:60", 19, "no time of day", ""),
        ("environment.date > 2023-02-30", 19, "no date", ""),
        (f"subject.level < {'9' * 400}", 16, "too large", ""),
        ("true" + " " * MAX_LENGTH, MAX_LENGTH, "characters", ""),
        ("1 " * (MAX_TOKENS + 1), 2 * MAX_TOKENS, "words", ""),
        ("(" * 40 + "true" + ")" * 40, MAX_DEPTH + 1, "levels", ""),
        ("not " * 40 + "true", 4 * MAX_DEPTH + 4, "levels", ""),
        ("1 " + "+ 1" * 40 + " > 0", 0, "levels", ""),
    ],
)
def test_what_is_refused_and_where(text: str, offset: int, message: str, hint: str) -> None:
    with pytest.raises(InvalidCondition) as caught:
        parse(text, SCHEMA)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.offset == offset


@pytest.mark.parametrize(
    ("text", "flips"),
    [
        ("subject.level > 1", []),
        ("environment.time in 08:00..18:00", ["08:00:00", "18:00:00"]),
        ("environment.time in 18:00..24:00", ["00:00:00", "18:00:00"]),
        ("environment.time > 08:00", ["00:00:00", "08:00:00", "08:00:01"]),
        ("08:00 > environment.time", ["00:00:00", "08:00:00", "08:00:01"]),
        ("environment.time in {08:00}", ["08:00:00", "08:00:01"]),
        ("environment.weekday == Friday", ["00:00:00"]),
        ("environment.date == 2023-11-17", ["00:00:00"]),
    ],
)
def test_when_the_clock_alone_may_change_the_answer(text: str, flips: list[str]) -> None:
    condition = parse(text, SCHEMA)
    found, now, offset = [], NOON, 3600
    for _ in flips:
        now = condition.flips(now, offset)
        seconds = int(now + offset) % DAY
        found.append(f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}")
    assert sorted(found) == flips
    if not flips:
        assert condition.flips(now) == math.inf
    else:
        # A day later it comes again.
        assert condition.flips(condition.flips(now) + DAY - 0.5) > now


WINDOWS = st.sampled_from(
    [
        "environment.time in 08:00..18:00",
        "environment.time in 22:30..06:00:30",
        "environment.time <= 00:00",
        "environment.time == 23:59:59 or environment.weekday in Saturday..Sunday",
        "environment.date > 2023-11-17 and not environment.time > 07:00",
    ]
)


@given(WINDOWS, st.integers(0, 3 * DAY), st.sampled_from([0, 3600, -7 * 3600, 19_800]))
def test_nothing_changes_before_it_flips(text: str, since: int, offset: int) -> None:
    condition = parse(text, SCHEMA)
    seen = Facts()

    def answer(now: float) -> bool | Failure:
        seen.look(now, offset)
        return condition.holds(QUESTION, seen)

    now = NOON + since + 0.25
    flips = condition.flips(now, offset)
    assert flips > now
    steps = {now, flips - 1, (now + flips) / 2, *(now + n for n in range(3) if now + n < flips)}
    assert len({answer(at) for at in steps if now <= at < flips}) == 1


def test_an_explanation_tells_every_test_and_what_it_saw() -> None:
    text = (
        "environment.time in 08:00..18:00 and (subject.rank > Nurse or not has object.x) and"
        " environment.date > 2023-01-01 and subject.roles contains 'doctor' and object.kind == ''"
        " and subject.level / 0 > 1 and object.version == '1' and true"
    )
    schema = Schema(
        [
            Attribute("subject.rank", "ordered", RANKS),
            Attribute("object.x"),
            Attribute("subject.level", "number"),
        ]
    )
    assert parse(text, schema).explain(QUESTION, facts()) == [
        "environment.time in 08:00..18:00: yes (environment.time is 12:00:00)",
        "subject.rank > Nurse: yes (subject.rank is AttendingDoctor)",
        "has object.x: no",
        "environment.date > 2023-01-01: yes (environment.date is 2023-11-17)",
        "subject.roles contains 'doctor': yes (subject.roles is {doctor})",
        "object.kind == '': no (object.kind is method)",
        "subject.level / 0 > 1: no answer: subject.level / 0 divides by zero"
        " (subject.level is 4.0)",
        "object.version == '1': no answer: object.version is missing (object.version is missing)",
        "true: yes",
    ]
    nobody = QUESTION._replace(principal=Principal("a:b", "person", attributes={"time": "x"}))
    told = parse("subject.roles contains '' and environment.time > 1:00", schema)
    assert told.explain(nobody, Facts()) == [
        "subject.roles contains '': no (subject.roles is {nothing})",
        "environment.time > 1:00: no answer: environment.time is missing"
        " (environment.time is missing)",
    ]


def test_what_a_condition_reads_and_needs() -> None:
    text = (
        "subject.dept == 'a' and subject.level > 1 and object.place in {'x', 'y'}"
        " and subject.rank == Nurse and has object.version"
    )
    condition = parse(text, SCHEMA)
    assert condition.text == text
    assert condition.reads == {
        "subject.dept",
        "subject.level",
        "object.place",
        "subject.rank",
        "object.version",
    }
    assert condition.guards == (
        Guard("subject.dept", ("a",), first=True),
        Guard("object.place", ("x", "y"), first=False),
    )
    assert parse("subject.dept == 'a' or subject.level > 1", SCHEMA).guards == ()
    assert parse("subject.level in {1}", SCHEMA).guards == ()


def test_declarations_never_change_what_is_built_in() -> None:
    schema = Schema([Attribute("subject.id", "number")])
    assert schema.types["subject.id"] == BUILT_IN["subject.id"]


# --- bad input -------------------------------------------------------------------------------

WORDS = [
    *KEYWORDS,
    *SCHEMA.types,
    *RANKS,
    *["(", ")", "{", "}", ",", "..", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"],
    "0",
    "1.5",
    "08:00",
    "2023-11-17",
    "'a'",
    '"b"',
    "Friday",
]
VALUES: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(),
    st.text(max_size=3),
    st.booleans(),
    st.tuples(st.text(max_size=2)),
    st.none(),
    st.sampled_from(RANKS),
)
KEYS = st.sampled_from(["rank", "dept", "level", "groups", "certified", "campus", "least", "place"])


@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)))
@example("\x00")
@example("-" * 600)
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        condition = parse(text, SCHEMA)
    except InvalidCondition as refused:
        error = refused
    else:
        check(condition, ANN, THING)
        return
    assert 0 <= error.offset <= len(text)


OPERANDS = st.sampled_from(
    [w for w in WORDS if w not in KEYWORDS and w[0] not in "(){},.=!<>+-*/%"]
)
TESTS = st.one_of(
    st.builds(
        "{} {} {}".format,
        OPERANDS,
        st.sampled_from(["==", "!=", "<", ">=", "contains", "within", "in"]),
        OPERANDS,
    ),
    st.builds("{} {} {} > {}".format, OPERANDS, st.sampled_from("+-*/%"), OPERANDS, OPERANDS),
    st.builds("{} in {{{}, {}}}".format, OPERANDS, OPERANDS, OPERANDS),
    st.builds("{} in {}..{}".format, OPERANDS, OPERANDS, OPERANDS),
    st.builds("has {}".format, st.sampled_from(sorted(SCHEMA.types))),
)
TREES = st.recursive(
    TESTS,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {} or {})".format, inner, inner, inner),
        st.builds("not {}".format, inner),
    ),
    max_leaves=6,
)


@given(TREES, st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_no_value_makes_a_condition_raise(
    text: str, subject: dict[str, Any], thing: dict[str, Any]
) -> None:
    try:
        condition = parse(text, SCHEMA)
    except InvalidCondition:
        return
    check(condition, Principal("a:b", "person", attributes=subject), thing)


def check(condition: Condition, who: Principal, thing: Any) -> None:
    seen = Facts(lambda _: thing)
    question = QUESTION._replace(principal=who)
    assert isinstance(condition.holds(question, seen), bool | Failure)
    seen.look(NOON, 0)
    assert isinstance(condition.holds(question, seen), bool | Failure)
    assert condition.explain(question, seen)
    assert condition.flips(NOON) > NOON
