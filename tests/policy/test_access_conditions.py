"""Access decisions with conditions, roles, attributes, the clock, shadow policies and duties."""

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.access import attributes, roles, rule_index, shadow
from policy.access.attributes import Circumstances
from policy.access.index import AccessIndex
from policy.access.knowledge import Known
from policy.access.roles import Roles, cycles
from policy.conditions.condition import Failure
from policy.decision import Decision, Question
from policy.model import (
    AccessPolicy,
    Action,
    Attribute,
    Effect,
    Environment,
    LifecyclePolicy,
    Mode,
    ObjectAttributes,
    Obligations,
    Principal,
    Role,
    Subject,
    Value,
)
from registry.names import Name

AUTHORITY = "snac.asu.edu"
ANYBODY = (Subject(),)
NAME = Name("snac.asu.edu/w/plan/check")
NOON = 1_700_222_400.0
"""2023-11-17 12:00:00 UTC, a Friday."""
DECLARED = {
    "dept": Attribute("subject.dept"),
    "level": Attribute("subject.level", "number"),
    "place": Attribute("object.place", "path"),
    "alarm": Attribute("environment.alarm", "boolean"),
}


def person(id_: str = "user:ann", /, **given: Value) -> Principal:
    return Principal(id_, "person", attributes=given)


def rule(
    effect: Effect,
    when: str = "",
    *names: str,
    to: tuple[Subject, ...] = ANYBODY,
    mode: Mode = "enforce",
    duties: Obligations | None = None,
) -> AccessPolicy:
    every = names or ("**",)
    more = Obligations() if duties is None else duties
    return AccessPolicy(effect, to, (Action.CALL,), every, (), when, mode, more)


def index(
    facts: Mapping[str, Value] | None = None, /, **policies: AccessPolicy | LifecyclePolicy
) -> AccessIndex:
    built = AccessIndex(AUTHORITY, facts_of=lambda _: Known(facts or {}))
    for name, attribute in DECLARED.items():
        built.put("Attribute", name, attribute)
    for name, policy in policies.items():
        built.put("AccessPolicy", name, policy)
    built.tick(NOON)
    return built


def allowed(built: AccessIndex, who: Principal, name: str = NAME) -> bool:
    checked = built.check(who, Action.CALL, Name(name), "")
    assert built.decide(Question(who, Action.CALL, Name(name))).allowed is checked.allowed
    return checked.allowed


def explained(built: AccessIndex, who: Principal) -> list[tuple[str, str, str]]:
    return [
        (r.policy, r.effect, r.why) for r in built.explain(Question(who, Action.CALL, NAME)).reasons
    ]


# --- conditions ------------------------------------------------------------------------------


def test_a_rule_holds_when_its_condition_does() -> None:
    built = index(
        a=rule("allow", 'subject.dept == "heart"'),
        d=rule("deny", "subject.level < 2 and subject.dept == 'heart'"),
    )
    assert allowed(built, person(dept="heart", level=2.0))
    assert not allowed(built, person(dept="lung", level=2.0))
    assert not allowed(built, person(dept="heart", level=1.0))


@pytest.mark.parametrize("test", ["subject.dept == 'a'", "subject.level > 1", "subject.level/0>1"])
def test_a_deny_that_fails_denies_and_an_allow_that_fails_leaves_it_to_others(test: str) -> None:
    who = person() if "/" not in test else person(level=1.0)
    built = index(a=rule("allow", test))
    told: list[str] = []
    built.failed = lambda policy, why: told.append(f"{policy}: {why}")
    assert not allowed(built, who)
    built.put("AccessPolicy", "b", rule("allow"))
    assert allowed(built, who)
    built.put("AccessPolicy", "d", rule("deny", test))
    assert not allowed(built, who)
    assert not allowed(built, Principal("a:b", "person"))
    built.remove("AccessPolicy", "d")
    assert allowed(built, who)
    assert len(told) == 2
    assert sorted(built.failures) == ["AccessPolicy/a"]


def test_a_failure_in_an_allow_that_is_denied_anyhow_is_reported_too() -> None:
    built = index(a=rule("allow", "subject.level > 1"))
    assert not allowed(built, person())
    assert built.failures == {"AccessPolicy/a": "subject.level is missing"}


def test_lifecycle_policies_have_the_same_conditions() -> None:
    policy = LifecyclePolicy(
        "allow", ANYBODY, ("bind",), ("**",), ("http://h",), 'subject.dept == "a"'
    )
    built = index(p=policy)
    question = Question(person(dept="a"), Action.BIND, NAME, endpoint="http://h/x")
    assert built.decide(question).allowed
    assert not built.decide(question._replace(endpoint="http://i")).allowed
    assert not built.decide(question._replace(principal=person(dept="b"))).allowed


def test_a_condition_is_read_again_when_attributes_change() -> None:
    built = index(
        a=rule("allow", "subject.rank == 'x'"),
        plain=rule("allow", "", "other/**"),
        d=rule("deny", "subject.level > 1", "v/**"),
    )
    who = person(rank="x", level=1.0)
    assert not allowed(built, who)
    assert "its condition cannot be read: there is no" in built.failures["AccessPolicy/a"]
    assert ("failed", True) in [(e, "cannot be read" in w) for _, e, w in explained(built, who)]
    built.put("Attribute", "rank", Attribute("subject.rank"))
    assert allowed(built, who)
    assert built.failures == {}
    assert built.declared["rank"].attribute == "subject.rank"
    built.put("AccessPolicy", "b", rule("allow", "", "v/**"))
    assert allowed(built, who, f"{AUTHORITY}/v/x")
    built.remove("Attribute", "level")
    assert not allowed(built, who, f"{AUTHORITY}/v/x")
    assert allowed(built, who)


DEPTS = st.sampled_from(["a", "b", "c"])
TESTS = st.sampled_from(
    [
        "subject.dept == 'a'",
        "subject.dept in {'a', 'b', 'a'}",
        "subject.level > 1 and subject.dept == 'b'",
        "subject.dept == 'c' and subject.level > 1",
        "subject.dept in {'a', 'c'} and object.place == 'x'",
        "subject.level > 1",
        "object.place == 'x' or subject.dept == 'a'",
        "",
    ]
)
SUBJECTS = st.sampled_from(
    [
        Subject(),
        Subject("user:ann"),
        Subject(kind="person"),
        Subject(role="nurse"),
        Subject(kind="device", role="nurse"),
        Subject("user:ann", role="doctor"),
    ]
)
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        "dept": st.one_of(DEPTS, st.just(3.0)),
        "level": st.sampled_from([1.0, 2.0, "x"]),
        "roles": st.sampled_from([("nurse",), ("doctor", "nurse"), ("doctor",), "nurse"]),
    },
)
POLICIES = st.builds(
    lambda effect, when, to: rule(effect, when, to=(to,)),
    st.sampled_from(["allow", "deny"]),
    TESTS,
    SUBJECTS,
)


@given(st.lists(POLICIES, max_size=6), GIVEN, st.booleans())
def test_indexed_conditions_decide_as_every_rule_in_turn_would(
    policies: list[AccessPolicy], given: dict[str, Value], known: bool
) -> None:
    built = index({"place": "x"} if known else {}, **{f"p{n}": p for n, p in enumerate(policies)})
    who = person(**given)
    question = Question(who, Action.CALL, NAME)
    answers = [
        (r.allows, r.applies(question, built._facts))
        for c in built._policies.values()
        for r in c.rules
        if roles.is_subject(r.subject, who, who.roles)
    ]
    denied = any(not allows and answer is not False for allows, answer in answers)
    expected = not denied and (True, True) in answers
    assert allowed(built, who) is expected
    assert built.explain(question).allowed is expected
    some_fail = any(isinstance(answer, Failure) for _, answer in answers)
    assert bool(built.failures) is some_fail
    for number in range(len(policies)):
        built.remove("AccessPolicy", f"p{number}")
    assert not any(r._literals or r._prefixes for r in built._enforced.values())


def test_names_whose_rules_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_index, "KNOWN", 2)
    built = index(a=rule("allow", "", "w/**"))
    for number in range(5):
        assert allowed(built, ANN, f"{AUTHORITY}/w/{number}")
        assert len(built._enforced[Action.CALL]._known) <= 2
    built.remove("AccessPolicy", "a")
    assert not allowed(built, ANN, f"{AUTHORITY}/w/4")


def test_rules_that_need_a_text_are_found_by_it_or_told_once_that_it_is_missing() -> None:
    built = index(**{f"p{n}": rule("allow", f"subject.dept == 'd{n}'", "w/**") for n in range(9)})
    question = Question(person(dept="d7"), Action.CALL, NAME)
    assert len(built._about(question, built._enforced)) == 1
    assert allowed(built, person(dept="d7"))
    assert not allowed(built, person(dept="d9"))
    assert not built.check(person(), Action.CALL, NAME, "").allowed
    assert len(built.failures) == 1
    built.put("AccessPolicy", "d", rule("deny", "subject.dept == 'd8'", "w/**"))
    assert allowed(built, person(dept="d7"))
    assert not allowed(built, person(dept="d8"))
    assert not built.check(person(dept=3.0), Action.CALL, NAME, "").allowed
    assert "AccessPolicy/d" in built.failures


# --- roles -----------------------------------------------------------------------------------


def test_members_of_a_role_have_its_rules_and_those_of_the_roles_it_inherits() -> None:
    built = index(
        n=rule("allow", "", "ward/**", to=(Subject(role="nurse"),)),
        d=rule("allow", "subject.roles contains 'nurse'", "lab/**", to=(Subject(role="doctor"),)),
    )
    ann, bob, cat = person(), person("user:bob", roles=("nurse",)), person("user:cat")
    asked = list(itertools.product((ann, bob, cat), ("ward/1", "lab/1")))

    def answers() -> list[bool]:
        return [allowed(built, who, f"{AUTHORITY}/{what}") for who, what in asked]

    assert answers() == [False, False, True, False, False, False]
    built.put("Role", "doctor", Role((Subject("user:ann"),), ("nurse",)))
    assert answers() == [True, True, True, False, False, False]
    assert built.roles_of(ann) == {"doctor", "nurse"}
    built.put("Role", "nurse", Role((Subject(kind="person"), Subject("user:cat", "device"))))
    assert answers() == [True, True, True, False, True, False]
    built.remove("Role", "nurse")
    built.put("Role", "doctor", Role((Subject("user:cat"),)))
    assert answers() == [False, False, True, False, False, False]
    built.remove("Role", "doctor")
    built.remove("Role", "never there")


def test_a_circle_of_roles_makes_them_equal_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "KEPT", 1)
    table = {
        "a": Role((Subject("user:ann"),), ("b",)),
        "b": Role((), ("c", "x")),
        "c": Role((), ("a",)),
        "d": Role((), ("a", "c")),
        "e": Role((), ("e",)),
    }
    known = Roles()
    for name, role in table.items():
        known.put(name, role)
    ann = person()
    assert known.of(ann) is known.of(ann)
    assert known.of(person("user:bob")) == frozenset()
    assert known.of(ann) == {"a", "b", "c", "x"}
    assert cycles(table) == [["a", "b", "c", "a"], ["e", "e"]]
    assert cycles({"a": Role((), ("b",)), "b": Role((), ("c",)), "d": Role((), ("b",))}) == []


# --- attributes, environment and the clock ---------------------------------------------------


def test_attributes_of_objects_come_from_statements_and_the_registry() -> None:
    known: dict[str, Value] = {"kind": "method"}
    built = index(
        known,
        a=rule("allow", 'object.place within "campus/b1" and object.kind == "method"'),
    )
    who = person()
    assert not allowed(built, who)
    built.put("ObjectAttributes", "wide", ObjectAttributes(("**", "w/**"), {"place": "campus/b1"}))
    assert allowed(built, who)
    narrow = ObjectAttributes(("w/plan/check",), {"place": "campus/b2", "kind": "mine"})
    built.put("ObjectAttributes", "narrow", narrow)
    assert not allowed(built, who)
    assert allowed(built, who, f"{AUTHORITY}/w/other")
    built.remove("ObjectAttributes", "narrow")
    assert allowed(built, who)
    known["kind"] = "channel"
    assert allowed(built, who)
    assert not built.changed([Name(f"{AUTHORITY}/w/never"), Name(f"{AUTHORITY}/w/asked")])
    epoch = built.epoch
    assert built.changed([NAME])
    assert built.epoch == epoch + 1
    assert not allowed(built, who)


def test_many_names_are_forgotten_but_never_kept_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "KEPT", 2)
    facts: dict[str, Value] = {"place": "x"}
    built = index(facts, a=rule("allow", "object.place == 'x'"))
    names = [Name(f"{AUTHORITY}/{n}") for n in range(3)]
    assert all(allowed(built, ANN, name) for name in names)
    facts["place"] = "y"
    assert built.changed(names[:1])
    assert not allowed(built, ANN, names[0])


ANN = person()


def test_the_environment_is_what_all_statements_say_and_the_highest_threat() -> None:
    built = index(
        a=rule("allow", "environment.threat < 3 and environment.site == 'snac.asu.edu'"),
        d=rule("deny", "has environment.alarm and environment.alarm"),
    )
    assert allowed(built, ANN)
    built.put("Environment", "one", Environment(5))
    built.put("Environment", "two", Environment(2, {"alarm": True}))
    assert not allowed(built, ANN)
    built.remove("Environment", "one")
    assert not allowed(built, ANN)
    built.put(
        "Environment", "two", Environment(2, {"alarm": False, "time": "never", "threat": 9.0})
    )
    assert allowed(built, ANN)
    built.remove("Environment", "two")
    built.remove("Environment", "two")
    assert allowed(built, ANN)


def test_decisions_follow_the_clock_and_only_then_are_made_afresh() -> None:
    built = index(
        a=rule("allow", "environment.time in 08:00..18:00"),
        b=rule("allow", "environment.weekday == Saturday"),
    )
    assert allowed(built, ANN)
    epoch = built.epoch
    assert not built.tick(NOON + 3600)
    assert built.epoch == epoch
    assert built.tick(NOON + 6 * 3600)
    assert built.epoch == epoch + 1
    assert not allowed(built, ANN)
    # In summer the clock is put forward; a clock may be put back, too.
    assert built.tick(NOON + 6 * 3600 + 1, -3600)
    assert allowed(built, ANN)
    assert built.tick(NOON)
    assert built.tick(NOON + 12 * 3600)
    assert allowed(built, ANN)
    assert built.tick(NOON + 36 * 3600)
    assert not allowed(built, ANN)
    built.put("AccessPolicy", "c", rule("allow", "environment.time < 00:00:10"))
    assert allowed(built, ANN)
    assert built.tick(NOON + 36 * 3600 + 10)
    assert not allowed(built, ANN)
    built.remove("AccessPolicy", "a")
    built.remove("AccessPolicy", "b")
    built.remove("AccessPolicy", "c")
    assert not built.tick(NOON + 99 * 3600)


def test_before_the_first_look_at_the_clock_there_is_no_time() -> None:
    built = AccessIndex(AUTHORITY)
    built.put("AccessPolicy", "a", rule("allow", "environment.time < 24:00"))
    assert not allowed(built, ANN)
    assert built.tick(NOON)
    assert allowed(built, ANN)


# --- shadow policies -------------------------------------------------------------------------


def test_a_shadow_policy_decides_beside_and_is_never_enforced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shadow, "KEPT", 2)
    admin = Principal("user:root", "administrator")
    built = index(
        a=rule("allow", "", to=(Subject("user:ann"),)),
        no=rule("deny", "subject.level > 1", mode="shadow"),
        yes=rule("allow", "", "w/**", to=(Subject("user:bob"),), mode="shadow"),
    )
    ann, bob = person(level=1.0), person("user:bob", level=1.0)
    assert allowed(built, ann)
    assert not allowed(built, bob)
    assert built.shadowed.counts == {"AccessPolicy/yes": 1}
    strict = person(level=2.0)
    assert allowed(built, strict)
    assert allowed(built, strict)
    assert built.shadowed.counts == {"AccessPolicy/yes": 1, "AccessPolicy/no": 1}
    last = built.shadowed.last[-1]
    assert (last.decision.allowed, last.would.allowed, last.at) == (True, False, NOON)
    assert built.check(admin, Action.CALL, Name(f"{AUTHORITY}/$site/policy/get"), "").allowed
    assert built.shadowed.counts.total() == 2
    for number in range(3):
        built.check(strict, Action.CALL, Name(f"{AUTHORITY}/{number}"), "")
    assert [d.question.name[-1] for d in built.shadowed.last] == ["1", "2"]
    built.remove("AccessPolicy", "no")
    assert built.shadowed.counts == {"AccessPolicy/yes": 1}
    built.put("AccessPolicy", "yes", rule("allow", mode="enforce"))
    assert built.shadowed.counts == {}
    assert allowed(built, bob)


# --- obligations -----------------------------------------------------------------------------


def test_the_duties_of_all_allowing_policies_come_together() -> None:
    built = index(
        b=rule("allow", duties=Obligations(mask=("/a", "/b"), headers={"X": "b", "Y": "b"})),
        a=rule("allow", duties=Obligations(log=True, mask=("/b",), headers={"X": "a"})),
        c=rule("allow"),
        d=rule("allow", "subject.level > 1", duties=Obligations(mask=("/c",))),
    )
    expected = Obligations(True, ("/b", "/a"), {"X": "a", "Y": "b"})
    for found in (
        built.check(ANN, Action.CALL, NAME, ""),
        built.decide(Question(ANN, Action.CALL, NAME)),
    ):
        assert found.obligations == expected
    built.remove("AccessPolicy", "a")
    built.remove("AccessPolicy", "b")
    assert built.check(ANN, Action.CALL, NAME, "").obligations is None
    assert built.decide(Question(ANN, Action.CALL, NAME)).obligations is None
    built.put("AccessPolicy", "b", rule("allow", duties=Obligations(log=True)))
    built.remove("AccessPolicy", "c")
    duties = built.check(ANN, Action.CALL, NAME, "").obligations
    assert duties == Obligations(log=True)
    built.put("AccessPolicy", "no", rule("deny"))
    assert built.check(ANN, Action.CALL, NAME, "").obligations is None
    assert built.decide(Question(ANN, Action.CALL, NAME)).obligations is None


# --- explanations ----------------------------------------------------------------------------


def test_an_explanation_tells_every_rule_that_mattered_and_what_conditions_saw() -> None:
    built = index(
        a=rule("allow", "subject.level > 1"),
        b=rule("allow", "subject.dept == 'b'"),
        f=rule("allow", "object.place == 'x'"),
        s=rule("deny", "subject.level > 1", mode="shadow"),
        t=rule("deny", mode="shadow"),
        u=rule("deny", "subject.level > 5", mode="shadow"),
    )
    assert explained(built, person(level=2.0, dept="a")) == [
        ("AccessPolicy/a", "allow", "anybody may call snac.asu.edu/** when subject.level > 1"),
        (
            "AccessPolicy/f",
            "failed",
            "the rule could not be evaluated: object.place is missing",
        ),
        (
            "AccessPolicy/a",
            "condition",
            "anybody may call snac.asu.edu/** when subject.level > 1:"
            " subject.level > 1: yes (subject.level is 2.0)",
        ),
        (
            "AccessPolicy/b",
            "no match",
            "anybody may call snac.asu.edu/** when subject.dept == 'b':"
            " subject.dept == 'b': no (subject.dept is a)",
        ),
        (
            "AccessPolicy/f",
            "no match",
            "anybody may call snac.asu.edu/** when object.place == 'x':"
            " object.place == 'x': no answer: object.place is missing (object.place is missing)",
        ),
        (
            "AccessPolicy/s",
            "shadow deny",
            "anybody may not call snac.asu.edu/** when subject.level > 1:"
            " subject.level > 1: yes (subject.level is 2.0)",
        ),
        ("AccessPolicy/t", "shadow deny", "anybody may not call snac.asu.edu/**"),
        (
            "AccessPolicy/u",
            "shadow no match",
            "anybody may not call snac.asu.edu/** when subject.level > 5:"
            " subject.level > 5: no (subject.level is 2.0)",
        ),
    ]


def test_near_misses_know_roles_and_do_not_repeat_conditions() -> None:
    built = index(
        a=rule("allow", "subject.level > 1"),
        b=rule("allow", to=(Subject(role="nurse"), Subject(kind="device", role="porter"))),
    )
    found = [(policy, effect) for policy, effect, _ in explained(built, person(level=1.0))]
    assert found == [
        ("built-in", "deny"),
        ("AccessPolicy/a", "no match"),
        ("AccessPolicy/b", "near miss"),
    ]
    why = explained(built, person(level=1.0))[-1][2]
    assert "every principal with the role nurse, every principal of kind device with" in why


def test_what_is_built_in_needs_no_conditions() -> None:
    admin = Principal("user:root", "administrator")
    built = index(a=rule("deny", "subject.level > 1", "$site/policy/**"))
    question = Question(admin, Action.CALL, Name(f"{AUTHORITY}/$site/policy/get"))
    found: Decision = built.explain(question)
    assert [reason.policy for reason in found.reasons] == ["built-in"]


def test_circumstances_without_a_registry_know_what_is_stated() -> None:
    bare = Circumstances(AUTHORITY, ())
    assert bare.object(NAME) == {}
