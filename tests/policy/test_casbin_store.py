"""Casbin as the reference: it must decide as the compiled rules do; its texts can be exchanged."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from policy.access import AccessIndex, Rules
from policy.casbin_store import (
    MODEL,
    CasbinText,
    PolicyId,
    Reference,
    endpoint_match,
    from_casbin,
    name_match,
    to_casbin,
)
from policy.decision import Question
from policy.model import AccessPolicy, Action, LifecyclePolicy, Principal, Subject
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
subjects = st.builds(Subject, st.one_of(st.just("*"), ids), st.one_of(st.just("*"), kinds))
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
    ),
    st.builds(
        LifecyclePolicy,
        effects,
        several(subjects),
        several(st.sampled_from(["register", "create", "destroy", "bind"])),
        several(patterns),
        st.lists(st.sampled_from(prefixes), max_size=2, unique=True).map(tuple),
    ),
)
questions = st.builds(
    Question,
    st.builds(Principal, ids, kinds),
    st.sampled_from(Action),
    names.map(Name),
    st.one_of(st.just(""), ids),
    st.sampled_from(["", "red", "b.l-u=e", "green"]),
    st.sampled_from(["", "http://h/a/{x}", "http://h/{x}", "http://h:81/", "https://[::1]:8443/x"]),
)


def named(policies: list[Rules]) -> dict[PolicyId, Rules]:
    return {(type(policy).__name__, f"p{i}"): policy for i, policy in enumerate(policies)}


INSIDE = Name("r.example/$site/policy/$site")


@given(st.lists(rules, max_size=3), st.lists(questions, min_size=1, max_size=6))
@example([], [Question(Principal("u:1", "administrator"), Action.CALL, INSIDE)])
def test_compiled_decisions_equal_casbins(policies: list[Rules], asked: list[Question]) -> None:
    index = AccessIndex(AUTHORITY)
    for (kind, name), policy in named(policies).items():
        index.put(kind, name, policy)
    text = to_casbin(named(policies), AUTHORITY)
    reference = Reference(text, AUTHORITY)
    for question in asked:
        assert index.decide(question).allowed is reference.allows(question), (question, text.policy)


@given(st.lists(rules, max_size=4))
def test_policies_survive_the_way_through_casbins_text(policies: list[Rules]) -> None:
    text = to_casbin(named(policies), AUTHORITY)
    found = from_casbin(text)
    assert found.keys() == named(policies).keys()
    # Groups and endpoints that concern none of a policy's actions leave no trace.
    again = to_casbin(found, AUTHORITY).policy
    assert sorted(again.splitlines()) == sorted(text.policy.splitlines())


@given(rules, st.data())
def test_rows_taken_out_by_hand_take_out_no_more_and_no_less(
    policy: Rules, data: st.DataObject
) -> None:
    text = to_casbin({("AccessPolicy", "p"): policy}, AUTHORITY)
    kind = type(policy).__name__
    lines = text.policy.replace("AccessPolicy/p", f"{kind}/p").splitlines()
    kept = [line for line in lines if "built-in/" in line or data.draw(st.booleans())]
    try:
        found = from_casbin(CasbinText(MODEL, "\n".join(kept)))
    except ValueError as error:
        assert "says just this" in str(error)  # noqa: PT017
        return
    again = {line.rpartition(",")[0] for line in to_casbin(found, AUTHORITY).policy.splitlines()}
    assert again == {line.rpartition(",")[0] for line in kept}


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
        (CasbinText(MODEL, "p, allow, *"), "a row has 8 columns, not 2"),
        (CasbinText(MODEL, "p, allow, *, *, call, s/x, *, *, Role/x"), "no kind of policy"),
        (CasbinText(MODEL, "p, allow, *, *, fly, s/x, *, *, AccessPolicy/x"), "fits no"),
        (CasbinText(MODEL, "p, maybe, *, *, call, s/x, *, *, AccessPolicy/x"), "fits no"),
        (
            CasbinText(MODEL, "p, allow, *, *, subscribe, s/x, red, *, AccessPolicy/x"),
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
    assert lines[-2:] == [
        "p, allow, iot:phone, *, subscribe, r.example/a/*, , *, AccessPolicy/phones",
        "p, allow, iot:phone, *, subscribe, r.example/a/*, red, *, AccessPolicy/phones",
    ]
