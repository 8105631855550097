"""Casbin as the reference: it must decide as the compiled rules do; its texts can be exchanged."""

import contextlib
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy.access.index import AccessIndex, Deciding, Rules
from policy.casbin_exchange.functions import endpoint_match, name_match
from policy.casbin_exchange.store import Reference, from_casbin
from policy.casbin_exchange.text import MODEL, CasbinText, PolicyId, to_casbin
from policy.decision import Question
from policy.model import (
    AccessPolicy,
    Action,
    Attribute,
    Environment,
    LifecyclePolicy,
    ObjectAttributes,
    Obligations,
    Policy,
    Principal,
    Role,
    Subject,
)
from registry.names import Name, Pattern

# An authority that starts like a variable of casbin's matcher, which it rewrites as text.
AUTHORITY = "r.example"

segments = st.sampled_from(["a", "b,c", "$site", "policy", "x.y", "%28"])
names = st.lists(segments, min_size=1, max_size=4).map(lambda s: f"{AUTHORITY}/{'/'.join(s)}")
patterns = (
    st.tuples(
        st.lists(st.one_of(segments, st.just("*")), max_size=3), st.sampled_from([[], ["**"]])
    )
    .map(lambda t: "/".join([AUTHORITY, *t[0], *t[1]]))
    .filter(lambda text: text != AUTHORITY)
)
ids = st.sampled_from(["u:1", "u:a,b", "p:(x[y"])
kinds = st.sampled_from(["device", "administrator", "anonymous"])
anybody = st.just("*")
roles = st.sampled_from(["junior", "senior", "chief"])
people = st.builds(Subject, st.one_of(anybody, ids), st.one_of(anybody, kinds))
subjects = st.builds(
    Subject, st.one_of(anybody, ids), st.one_of(anybody, kinds), st.one_of(st.just(""), roles)
)

ATTRIBUTES = {
    "subject.age": "number",
    "subject.on": "boolean",
    "subject.tags": "set",
    "subject.word": "string",
    "object.place": "path",
    "object.items": "number",
    "environment.load": "number",
}
DECLARED: dict[PolicyId, Policy] = {
    ("Attribute", name.replace(".", "-")): Attribute(name, type_)  # type: ignore[arg-type]
    for name, type_ in ATTRIBUTES.items()
}
DECLARED["Attribute", "rank"] = Attribute("subject.rank", "ordered", ("Low", "Mid, (high)", "Top"))
TESTS = [
    "subject.age >= 18",
    "subject.age * 2 + 1 < object.items - 3",
    "10 / subject.age > object.items",
    "subject.age % 3 == 1",
    "subject.age in -1..20",
    "environment.load <= 2.5",
    "subject.on",
    "subject.on == true",
    "subject.on != (subject.age > 5)",
    'subject.tags contains "a,b"',
    "'r.x' in subject.tags",
    'subject.roles contains "junior"',
    "subject.word in subject.roles",
    'subject.word in {"a,b", "p.y (", "x"}',
    "subject.word startsWith 'p.'",
    "subject.word != subject.realm",
    'subject.rank >= "Mid, (high)"',
    "subject.rank in Low..Top",
    "subject.rank == Top",
    "object.place within 'k/b1'",
    "object.name within 'r.example/a'",
    "object.owner == subject.id",
    "has subject.rank",
    "environment.time in 08:00..18:00",
    "environment.time in 22:00..06:30",
    "environment.weekday in Monday..Friday",
    "environment.date < 2026-02-01",
    "environment.threat < 3",
    "true",
]
conditions = st.one_of(
    st.just(""),
    st.recursive(
        st.sampled_from(TESTS),
        lambda inner: st.one_of(
            inner.map(lambda text: f"not ({text})"),
            st.lists(inner, min_size=2, max_size=3).map(lambda texts: f"({' and '.join(texts)})"),
            st.lists(inner, min_size=2, max_size=3).map(lambda texts: f"({' or '.join(texts)})"),
        ),
        max_leaves=4,
    ),
)
numbers = st.sampled_from([0.0, 4.0, 5, 18.0, 40])
wrong = st.sampled_from(["3", True, ("a,b",)])


def sometimes(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Attributes of which any may be missing or of another type."""
    either = {key: st.one_of(value, value, wrong) for key, value in values.items()}
    return st.fixed_dictionaries({}, optional=either)


of_subjects = sometimes(
    age=numbers,
    on=st.booleans(),
    tags=st.sampled_from([(), ("a,b",), ("r.x", "a,b")]),
    word=st.sampled_from(["a,b", "p.y (", "u", "junior"]),
    rank=st.sampled_from(["Low", "Mid, (high)", "Top", "None"]),
    roles=st.sampled_from([(), ("senior",), ("nowhere", "chief")]),
)
of_objects = sometimes(place=st.sampled_from(["k", "k/b1", "k/b1/r2", "k/b11"]), items=numbers)
of_site = sometimes(load=numbers)
groups = st.lists(st.sampled_from(["*", "red", "b.l-u=e"]), max_size=2, unique=True).map(tuple)
prefixes = ["http://h", "http://h/a", "https://[::1]:8443/x"]
effects = st.sampled_from(["allow", "deny"])


def several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, min_size=1, max_size=2, unique=True).map(tuple)


rules: st.SearchStrategy[Rules] = st.one_of(
    st.builds(
        AccessPolicy,
        effects,
        several(subjects),
        several(st.sampled_from(Action)),
        several(patterns),
        groups,
        conditions,
    ),
    st.builds(
        LifecyclePolicy,
        effects,
        several(subjects),
        several(st.sampled_from(["register", "create", "destroy", "bind"])),
        several(patterns),
        st.lists(st.sampled_from(prefixes), max_size=2, unique=True).map(tuple),
        conditions,
    ),
)
hierarchies = st.lists(st.tuples(roles, several(people)), max_size=3, unique_by=lambda t: t[0])
INHERITED = {"junior": (), "senior": ("junior",), "chief": ("senior", "nowhere")}
questions = st.builds(
    Question,
    st.builds(Principal, ids, kinds, attributes=of_subjects),
    st.sampled_from(Action),
    names.map(Name),
    st.one_of(st.just(""), ids),
    st.sampled_from(["", "red", "b.l-u=e", "green"]),
    st.sampled_from(["", "http://h/a/{x}", "http://h/{x}", "http://h:81/", "https://[::1]:8443/x"]),
)


def named(policies: list[Rules]) -> dict[PolicyId, Policy]:
    rules: dict[PolicyId, Policy] = {
        (type(policy).__name__, f"p{i}"): policy for i, policy in enumerate(policies)
    }
    return DECLARED | rules


def role_policies(members: list[tuple[str, tuple[Subject, ...]]]) -> dict[PolicyId, Policy]:
    return {("Role", name): Role(people, INHERITED[name]) for name, people in members}


INSIDE = Name("r.example/$site/policy/$site")


# Rules about one action and every name, so that most matter to most questions.
near_rules = st.builds(
    AccessPolicy,
    effects,
    several(st.builds(Subject, anybody, anybody, st.one_of(st.just(""), roles))),
    st.just((Action.CALL,)),
    st.just((f"{AUTHORITY}/**",)),
    when=conditions,
)
near_questions = st.builds(
    Question,
    st.builds(Principal, ids, st.just("device"), attributes=of_subjects),
    st.just(Action.CALL),
    st.sampled_from([Name("r.example/a"), Name("r.example/b")]),
    st.one_of(st.just(""), ids),
)


@given(
    st.lists(st.one_of(rules, near_rules, near_rules), max_size=4),
    hierarchies,
    st.lists(st.one_of(questions, near_questions), min_size=1, max_size=6),
    of_objects,
    of_site,
    st.integers(0, 10),
    st.integers(1_767_000_000, 1_772_000_000),
)
@example([], [], [Question(Principal("u:1", "administrator"), Action.CALL, INSIDE)], {}, {}, 0, 0)
def test_compiled_decisions_equal_casbins(
    policies: list[Rules],
    members: list[tuple[str, tuple[Subject, ...]]],
    asked: list[Question],
    objects: dict[str, Any],
    environment: dict[str, Any],
    threat: int,
    now: int,
) -> None:
    every = named(policies) | role_policies(members)
    every["Environment", "e"] = Environment(threat, environment)
    every["ObjectAttributes", "o"] = ObjectAttributes((f"{AUTHORITY}/**",), objects)
    index = AccessIndex(AUTHORITY)
    index.tick(now)
    for (kind, name), policy in every.items():
        assert isinstance(policy, Deciding)
        index.put(kind, name, policy)
    text = to_casbin(every, AUTHORITY)
    reference = Reference(text, AUTHORITY)
    for question in asked:
        allowed = reference.allows(question, index._facts)
        assert index.decide(question).allowed is allowed, (question, text.policy)
        if not question.group and not question.endpoint:
            assert index.check(*question[:4]).allowed is allowed


@given(st.lists(rules, max_size=4), hierarchies)
def test_policies_survive_the_way_through_casbins_text(
    policies: list[Rules], members: list[tuple[str, tuple[Subject, ...]]]
) -> None:
    every = named(policies) | role_policies(members)
    text = to_casbin(every, AUTHORITY)
    found = from_casbin(text)
    assert found.keys() >= every.keys()
    # Groups and endpoints that concern none of a policy's actions leave no trace.
    again = to_casbin(found, AUTHORITY).policy
    assert sorted(again.splitlines()) == sorted(text.policy.splitlines())


def rows_of(lines: list[str]) -> set[str]:
    """Return rows without the name of their policy."""
    return {line.rpartition(",")[0] for line in lines if line[0] == "p"}


@given(rules, st.data())
def test_rows_taken_out_by_hand_take_out_no_more_and_no_less(
    policy: Rules, data: st.DataObject
) -> None:
    text = to_casbin(DECLARED | {(type(policy).__name__, "p"): policy}, AUTHORITY)
    lines = text.policy.splitlines()
    kept = [x for x in lines if "built-in/" in x or x[0] == "#" or data.draw(st.booleans())]
    try:
        found = from_casbin(CasbinText(MODEL, "\n".join(kept)))
    except ValueError as error:
        assert "says just this" in str(error)  # noqa: PT017
        return
    again = to_casbin(found, AUTHORITY).policy.splitlines()
    assert rows_of(again) == rows_of(kept)


@given(names, patterns)
def test_names_match_as_the_registry_says(name: str, pattern: str) -> None:
    parsed = Pattern.parse(pattern, authority=AUTHORITY)
    assert name_match(name, pattern.replace(",", "%2C")) is parsed.matches(name)


@pytest.mark.parametrize(
    ("endpoint", "prefix", "effect", "matches"),
    [
        ("http://h/a", "http://h", "allow", True),
        ("http://h/{x}", "http://h/a", "allow", False),
        ("http://h/{x}", "http://h/a", "deny", True),
        ("http://u@h", "http://h", "allow", False),
        ("http://u@h", "http://h", "deny", True),
        ("", "http://h", "deny", False),
    ],
)
def test_endpoints_that_cannot_be_read_are_denied(
    endpoint: str, prefix: str, effect: str, matches: bool
) -> None:
    assert endpoint_match(endpoint, prefix, effect) is matches


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CasbinText(MODEL.replace("allow", "deny"), ""), "not the one that Hilum writes"),
        (CasbinText(MODEL, "p, allow, *"), "a row has 10 columns, not 2"),
        (
            CasbinText(MODEL, "p, allow, *, *, *, call, s/x, *, *, (1 == 1), Role/x"),
            "no kind of policy",
        ),
        (
            CasbinText(MODEL, "p, allow, *, *, *, fly, s/x, *, *, (1 == 1), AccessPolicy/x"),
            "fits no",
        ),
        (
            CasbinText(MODEL, "p, maybe, *, *, *, call, s/x, *, *, (1 == 1), AccessPolicy/x"),
            "fits no",
        ),
        (
            CasbinText(
                MODEL, "p, allow, *, *, *, subscribe, s/x, red, *, (1 == 1), AccessPolicy/x"
            ),
            "no AccessPolicy says just this",
        ),
    ],
)
def test_foreign_texts_are_refused(text: CasbinText, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_casbin(text)
    assert said in str(caught.value)


def test_the_text_is_readable() -> None:
    policy = AccessPolicy(
        "allow", (Subject("iot:phone"),), (Action.SUBSCRIBE,), ("r.example/a/*",), ("red",)
    )
    lines = to_casbin({("AccessPolicy", "phones"): policy}, AUTHORITY).policy.splitlines()
    row = (
        "p, allow, iot:phone, *, *, subscribe, r.example/a/*, {}, *, (1 == 1), AccessPolicy/phones"
    )
    assert lines[-2:] == [row.format(""), row.format("red")]


def test_what_casbin_has_no_room_for_survives_in_comments() -> None:
    duties = Obligations(True, ("/a",), {"X-A": "b, c"})
    every: dict[PolicyId, Policy] = DECLARED | {
        ("AccessPolicy", "doctors"): AccessPolicy(
            "allow",
            (Subject(role="senior"),),
            (Action.CALL,),
            ("r.example/a",),
            when="subject.rank >= Top",
            obligations=duties,
            description="Doctors, (on call)",
        ),
        ("LifecyclePolicy", "quiet"): LifecyclePolicy(
            "deny", (Subject(),), ("bind",), ("r.example/**",), mode="shadow"
        ),
        ("Environment", "site"): Environment(4, {"load": 3.0}),
        ("Role", "senior"): Role((Subject("u:a,b", "device"),), ("junior",)),
        ("Role", "junior"): Role((Subject(role="senior"), Subject(kind="device"))),
    }
    text = to_casbin(every, AUTHORITY)
    assert "# not said: LifecyclePolicy/quiet is in shadow mode" in text.policy
    assert "# not said: Role/junior asks for another role" in text.policy
    # A role among the members of a role makes nobody a member: it is left out.
    every["Role", "junior"] = Role((Subject(kind="device"),))
    assert from_casbin(text) == every


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("subject.rank >= Top", "subject.rank >= Low"), "is not that of the comment"),
        (('{"attribute"', '{"atribute"'), "the comment about Attribute/"),
        (("g, *|device", "g, *|device, x"), "a row of g is a member and a Role/"),
    ],
)
def test_comments_and_rows_that_do_not_fit_are_refused(change: tuple[str, str], said: str) -> None:
    when = "subject.rank >= Top"
    every = DECLARED | {
        ("AccessPolicy", "d"): AccessPolicy(
            "allow", (Subject(),), (Action.CALL,), ("a",), when=when
        ),
        ("Role", "junior"): Role((Subject(kind="device"),)),
    }
    text = to_casbin(every, AUTHORITY)
    with pytest.raises(ValueError) as caught:
        from_casbin(text._replace(policy=text.policy.replace(*change)))
    assert said in str(caught.value)


cells = st.one_of(
    st.sampled_from(["p", "g", "allow", "*", "call", "AccessPolicy/x", "Role/x", "(1 == 1)", ""]),
    st.text(max_size=10),
)
lines = st.one_of(
    st.text(max_size=60),
    st.lists(cells, max_size=11).map(", ".join),
    st.text(max_size=20).map(lambda text: f"# hilum AccessPolicy/x {{{text}}}"),
)


@given(st.lists(lines, max_size=4).map("\n".join))
@example("g")
def test_any_policy_text_is_read_or_refused(policy: str) -> None:
    with contextlib.suppress(ValueError):
        from_casbin(CasbinText(MODEL, policy))
