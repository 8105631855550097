"""Access decisions: default deny, deny beats allow, built-in rules, reasons, and an oracle."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.access import index as access
from policy.access.index import AccessIndex
from policy.access.rules import restriction_of
from policy.decision import Decision, Question
from policy.model import (
    AccessPolicy,
    Action,
    LifecyclePolicy,
    Obligations,
    Principal,
    Subject,
)
from registry.names import Name, Pattern

AUTHORITY = "snac.asu.edu"
ANYBODY = (Subject(),)

phone = Principal("iot:phone", "device")
tablet = Principal("iot:tablet", "device")
person = Principal("user:ann", "person")
admin = Principal("user:root", "administrator")
nobody = Principal("anonymous:http", "anonymous")

NAME = Name("snac.asu.edu/w/plan/check")


def index(**policies: AccessPolicy | LifecyclePolicy) -> AccessIndex:
    built = AccessIndex(AUTHORITY, ("localhost",))
    for name, policy in policies.items():
        built.put(type(policy).__name__, name, policy)
    return built


def allow(
    *names: str, to: tuple[Subject, ...] = ANYBODY, actions: str = "call", groups: str = ""
) -> AccessPolicy:
    return AccessPolicy(
        "allow", to, tuple(map(Action, actions.split())), names, tuple(groups.split())
    )


def deny(
    *names: str, to: tuple[Subject, ...] = ANYBODY, actions: str = "call", groups: str = ""
) -> AccessPolicy:
    return AccessPolicy(
        "deny", to, tuple(map(Action, actions.split())), names, tuple(groups.split())
    )


def bind(effect: str, *endpoints: str) -> LifecyclePolicy:
    assert effect in ("allow", "deny")
    return LifecyclePolicy(
        "allow" if effect == "allow" else "deny", ANYBODY, ("bind",), ("**",), endpoints
    )


def ask(
    built: AccessIndex, principal: Principal, action: str = "call", name: str = NAME, **more: str
) -> Decision:
    return built.decide(Question(principal, Action(action), Name(name), **more))


# --- the order of things ---------------------------------------------------------------------


def test_nothing_said_means_deny_and_says_so() -> None:
    decision = ask(index(), phone)
    assert str(decision) == (
        f"denied (deny by built-in: no policy allows iot:phone to call {NAME})"
    )
    assert not index().check(phone, Action.CALL, NAME, "").allowed


def test_a_deny_beats_an_allow_and_comes_first_among_the_reasons() -> None:
    built = index(
        a=allow("w/**"),
        b=allow("**", to=(Subject(kind="device"),)),
        no=deny("w/plan/*", to=(Subject("iot:phone"),)),
    )
    decision = ask(built, phone)
    assert not decision.allowed
    assert [str(reason) for reason in decision.reasons] == [
        "deny by AccessPolicy/no: iot:phone may not call snac.asu.edu/w/plan/*",
        "allow by AccessPolicy/a: anybody may call snac.asu.edu/w/**",
        "allow by AccessPolicy/b: every principal of kind device may call snac.asu.edu/**",
    ]
    assert ask(built, tablet).allowed
    assert built.check(phone, Action.CALL, NAME, "").reasons == decision.reasons[:1]


@pytest.mark.parametrize(
    ("subject", "allowed"),
    [
        (Subject(), [phone, tablet, person, nobody]),
        (Subject("iot:phone"), [phone]),
        (Subject(kind="device"), [phone, tablet]),
        (Subject("iot:phone", "device"), [phone]),
        (Subject("iot:phone", "person"), []),
    ],
)
def test_every_restriction_of_a_subject_must_hold(
    subject: Subject, allowed: list[Principal]
) -> None:
    built = index(p=allow("**", to=(subject,)))
    everybody = [phone, tablet, person, nobody]
    assert [p for p in everybody if ask(built, p).allowed] == allowed


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("w/plan/check", "w/plan/check", True),
        ("localhost/w/plan/check", "w/plan/check", True),
        ("w/plan", "w/plan/check", False),
        ("w/plan/check/**", "w/plan/check", True),
        ("w/**", "w", True),
        ("w/**", "wide/x", False),
        ("*/plan/check", "w/plan/check", True),
        ("*/plan/*", "w/plan/check", True),
        ("*/plan", "w/plan/check", False),
        ("*/plan/**", "w/plan", True),
        ("*/plan/**", "w/plan/a/b", True),
        ("w/*/check", "w/plan/check", True),
        ("w/*/check", "w/check", False),
        ("**", "$site/registry/list", False),
        ("*/registry/list", "$site/registry/list", False),
        ("$site/**", "$site/registry/list", True),
        ("$site/*/list", "$site/registry/list", True),
        ("$site/*/list/**", "$site/registry/list/$x", False),
        ("$site/*/list/$x/**", "$site/registry/list/$x", True),
        ("*/plan/**", "w/plan/$x/y", False),
        ("*/plan/$x/*", "w/plan/$x/y", True),
    ],
)
def test_patterns_in_the_index_match_as_patterns_do(pattern: str, name: str, matches: bool) -> None:
    full = Name(f"{AUTHORITY}/{name}")
    parsed = Pattern.parse(pattern, authority=AUTHORITY, aliases=("localhost",))
    assert parsed.matches(full) is matches
    assert ask(index(p=allow(pattern)), phone, name=full).allowed is matches


def test_putting_again_replaces_and_removing_leaves_nothing_behind() -> None:
    built = index(p=allow("w/**", "*/x", "*/x/**", "*/x/y"))
    epoch = built.epoch
    assert built.check(phone, Action.CALL, NAME, "").allowed
    built.put("AccessPolicy", "p", allow("v/**", actions="publish"))
    assert not built.check(phone, Action.CALL, NAME, "").allowed
    assert built.epoch > epoch
    epoch = built.epoch
    built.remove("AccessPolicy", "p")
    built.remove("AccessPolicy", "never there")
    assert built.epoch == epoch + 1
    assert not ask(built, phone, "publish", "snac.asu.edu/v/x").allowed
    built.forget()
    assert built.epoch == epoch + 2


# --- built-in rules --------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["call", "administer"])
@pytest.mark.parametrize("path", ["$site/policy", "$site/policy/apply", "$site/policy/a/b"])
def test_administrators_always_reach_the_policies(action: str, path: str) -> None:
    built = index(no=deny("$site/**", "$site/policy/**", actions=action))
    name = Name(f"{AUTHORITY}/{path}")
    assert ask(built, admin, action, name).allowed
    assert built.check(admin, Action(action), name, "").allowed
    assert not ask(built, phone, action, name).allowed


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("call", f"{AUTHORITY}/$site/policyx/apply"),
        ("call", f"{AUTHORITY}/$site/token/issue"),
        ("call", f"other.example/{AUTHORITY}/$site/policy/apply"),
        ("call", NAME),
        ("publish", f"{AUTHORITY}/$site/policy/apply"),
    ],
)
def test_administrators_have_no_other_right_of_their_own(action: str, name: str) -> None:
    assert not ask(index(), admin, action, name).allowed


@pytest.mark.parametrize("action", list(Action))
def test_owners_may_publish_create_and_destroy_unless_denied(action: Action) -> None:
    built = index()
    mine = action in (Action.PUBLISH, Action.CREATE, Action.DESTROY)
    assert ask(built, phone, action, owner="iot:phone").allowed is mine
    assert built.check(phone, action, NAME, "iot:phone").allowed is mine
    assert not ask(built, phone, action, owner="iot:tablet").allowed
    assert not built.check(Principal("", "device"), action, NAME, "").allowed
    built.put("AccessPolicy", "no", deny("w/**", actions=action))
    decision = ask(built, phone, action, owner="iot:phone")
    assert not decision.allowed
    assert not built.check(phone, action, NAME, "iot:phone").allowed
    assert [r.policy for r in decision.reasons] == ["AccessPolicy/no"] + ["built-in"] * mine


def test_anonymous_callers_own_nothing() -> None:
    assert not ask(index(), nobody, "destroy", owner=nobody.id).allowed


# --- groups and endpoints --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "plain", "red", "blue"),
    [
        ({"a": allow("**", actions="subscribe")}, True, False, False),
        ({"a": allow("**", actions="subscribe", groups="red")}, True, True, False),
        ({"a": allow("**", actions="subscribe", groups="*")}, True, True, True),
        (
            {
                "a": allow("**", actions="subscribe", groups="*"),
                "d": deny("**", actions="subscribe", groups="red"),
            },
            True,
            False,
            True,
        ),
        (
            {
                "a": allow("**", actions="subscribe", groups="*"),
                "d": deny("**", actions="subscribe", groups="*"),
            },
            True,
            False,
            False,
        ),
        (
            {
                "a": allow("**", actions="subscribe", groups="*"),
                "d": deny("**", actions="subscribe"),
            },
            False,
            False,
            False,
        ),
    ],
)
def test_joining_a_group_needs_a_rule_that_names_it(
    policies: dict[str, AccessPolicy], plain: bool, red: bool, blue: bool
) -> None:
    built = index(**policies)
    asked = [ask(built, phone, "subscribe", group=g).allowed for g in ("", "red", "blue")]
    assert asked == [plain, red, blue]
    assert built.check(phone, Action.SUBSCRIBE, NAME, "").allowed is plain


def test_groups_say_nothing_about_other_actions() -> None:
    built = index(a=allow("**"), d=deny("**", actions="call subscribe", groups="red"))
    assert not ask(built, phone, "call").allowed


@pytest.mark.parametrize(
    ("prefix", "endpoint", "allowed"),
    [
        ("http://10.0.0.1", "http://10.0.0.1/x", True),
        ("http://10.0.0.1", "http://10.0.0.1:80/x/{user}?q={q}", True),
        ("HTTP://Host.Lan/", "http://host.lan./x", True),
        ("http://[::1]:8080/a", "http://[0:0::1]:8080/a/b", True),
        ("http://10.0.0.1/a", "http://10.0.0.1/a", True),
        ("http://10.0.0.1/a/", "http://10.0.0.1/a/b", True),
        ("http://10.0.0.1/a", "http://10.0.0.1/%61/b", True),
        ("http://10.0.0.1", "http://10.0.0.1.evil.com", False),
        ("http://10.0.0.1", "http://10.0.0.1@evil.com/", False),
        ("http://10.0.0.1", "http://10.0.0.1:8080", False),
        ("http://10.0.0.1", "https://10.0.0.1", False),
        ("http://10.0.0.1/a", "http://10.0.0.1/ab", False),
        ("http://10.0.0.1/a", "http://10.0.0.1", False),
        ("http://10.0.0.1/a", "http://10.0.0.1/a/../b", False),
        ("http://10.0.0.1/a", "http://10.0.0.1/{x}", False),
        ("http://10.0.0.1", "http://10.0.0.1\\.evil.com/", False),
        ("http://10.0.0.1", "http://evil.com#http://10.0.0.1", False),
        ("http://10.0.0.1", "", False),
    ],
)
def test_an_allowed_endpoint_is_compared_by_its_parts(
    prefix: str, endpoint: str, allowed: bool
) -> None:
    built = index(a=bind("allow", "http://other.lan", prefix))
    assert ask(built, phone, "bind", endpoint=endpoint).allowed is allowed


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("http://10.0.0.1/x", False),
        ("http://[::ffff:10.0.0.1]/x", False),
        ("http://10.0.0.1./", False),
        ("http://u@10.0.0.1/", False),
        ("http://0xa.1/", False),
        ("http://10.0.0.2/", True),
        ("http://h/a/x", True),
        ("http://h/secret", False),
        ("http://h/{what}", False),
        ("", True),
    ],
)
def test_a_denied_endpoint_cannot_be_spelled_around(endpoint: str, allowed: bool) -> None:
    built = index(a=bind("allow"), d=bind("deny", "http://10.0.0.1", "http://h/secret"))
    assert ask(built, phone, "bind", endpoint=endpoint).allowed is allowed


def test_endpoints_restrict_nothing_but_bind() -> None:
    policy = LifecyclePolicy("allow", ANYBODY, ("create", "bind"), ("**",), ("http://h",))
    assert ask(index(p=policy), phone, "create").allowed


# --- rules that fail -------------------------------------------------------------------------


def test_an_allow_that_cannot_be_evaluated_allows_nothing_is_reported_and_breaks_no_other() -> None:
    built = index(a=bind("allow", "http://h"), b=allow("**"))
    decision = ask(built, phone, "bind", endpoint="http://u@h")
    assert not decision.allowed
    assert [(r.policy, r.effect) for r in decision.reasons] == [
        ("built-in", "deny"),
        ("LifecyclePolicy/a", "failed"),
    ]
    assert "could not be evaluated: user information" in decision.reasons[1].why
    assert built.failures.keys() == {"LifecyclePolicy/a"}
    assert ask(built, phone, "call").allowed
    built.put("AccessPolicy", "b", allow("**", actions="bind"))
    assert ask(built, phone, "bind", endpoint="http://u@h").allowed
    built.remove("LifecyclePolicy", "a")
    assert built.failures == {}


def test_a_near_miss_that_cannot_be_evaluated_is_none() -> None:
    to = (Subject("iot:tablet"),)
    policy = LifecyclePolicy("allow", to, ("bind",), ("**",), ("http://h",))
    decision = index(p=policy).explain(Question(phone, Action.BIND, NAME, endpoint="http://u@h"))
    assert [reason.policy for reason in decision.reasons] == ["built-in"]


def test_an_unreadable_prefix_in_the_log_allows_nothing_and_denies_everything() -> None:
    built = index(a=bind("allow", "not a url"))
    assert not ask(built, phone, "bind", endpoint="http://h").allowed
    built = index(a=bind("deny", "not a url"), b=bind("allow"))
    assert not ask(built, phone, "bind", endpoint="http://h").allowed
    assert not built.explain(Question(phone, Action.BIND, NAME, endpoint="http://h")).allowed


def test_an_unreadable_name_in_the_log_allows_nothing_and_denies_everything() -> None:
    built = index(a=allow("w/**x"), b=allow("**"))
    assert built.failures.keys() == {"AccessPolicy/a"}
    assert ask(built, phone).allowed
    built.put("AccessPolicy", "c", deny("w/**x"))
    assert not ask(built, phone).allowed
    assert not ask(built, phone, name="snac.asu.edu/else/where").allowed


# --- explanations ----------------------------------------------------------------------------


def test_near_misses_say_which_one_thing_did_not_match() -> None:
    built = index(
        subject=allow("w/**", to=(Subject("iot:tablet"), Subject("user:bob", "person"))),
        action=allow("w/**", actions="publish subscribe describe bind"),
        name=allow("v/**"),
        two=allow("v/**", to=(Subject("iot:tablet"),)),
        no=deny("v/**"),
    )
    decision = built.explain(Question(phone, Action.CALL, NAME))
    assert not decision.allowed
    assert [str(reason) for reason in decision.reasons] == [
        f"deny by built-in: no policy allows iot:phone to call {NAME}",
        "near miss by AccessPolicy/subject: would allow it, but it is for iot:tablet, "
        "user:bob of kind person, not for iot:phone of kind device",
        "near miss by AccessPolicy/action: would allow it, but it is for publish, subscribe, "
        "describe and 1 more, not for call",
        f"near miss by AccessPolicy/name: would allow it, but it is about snac.asu.edu/v/**, "
        f"not {NAME}",
    ]


def test_near_misses_know_groups_and_endpoints_and_stop_at_three() -> None:
    built = index(g=allow("**", actions="subscribe"))
    joined = built.explain(Question(phone, Action.SUBSCRIBE, NAME, group="red"))
    assert joined.reasons[0].why.endswith("subscribe snac.asu.edu/w/plan/check in group red")
    assert "does not let anybody join the group red" in joined.reasons[1].why
    built = index(e=bind("allow", "http://h"))
    bound = built.explain(Question(phone, Action.BIND, NAME, endpoint="http://i"))
    assert bound.reasons[0].why.endswith("with endpoint http://i")
    assert "does not cover the endpoint http://i" in bound.reasons[1].why
    many = index(**{f"p{i}": allow("v/**") for i in range(5)})
    assert len(many.explain(Question(phone, Action.CALL, NAME)).reasons) == 4


def test_what_a_policy_decided_needs_no_near_miss() -> None:
    built = index(a=allow("w/**"), d=deny("w/**", to=(Subject("iot:tablet"),)))
    for who in (phone, tablet):
        question = Question(who, Action.CALL, NAME)
        assert built.explain(question) == built.decide(question)


# --- the cache -------------------------------------------------------------------------------


def test_principals_that_share_an_id_are_not_confused() -> None:
    built = index(a=allow("**", to=(Subject(kind="device"),)))
    assert built.check(Principal("x:y", "device"), Action.CALL, NAME, "").allowed
    assert not built.check(Principal("x:y", "person"), Action.CALL, NAME, "").allowed
    assert repr(Principal("x:y", "person")) == "Principal(x:y, person)"


def test_each_denial_is_told_and_of_allows_those_with_a_duty() -> None:
    logged = AccessPolicy(
        "allow", ANYBODY, (Action.PUBLISH,), ("**",), obligations=Obligations(log=True)
    )
    built = index(quiet=allow("w/**"))
    told: list[tuple[str, Action, bool]] = []
    built.told = lambda who, action, _, decision: told.append((who.id, action, decision.allowed))
    for _ in range(2):
        built.check(phone, Action.CALL, NAME, "")
        built.check(phone, Action.PUBLISH, NAME, "")
    assert told == [("iot:phone", Action.PUBLISH, False)] * 2
    told.clear()
    built.put("AccessPolicy", "logged", logged)
    built.tell_all = True
    for _ in range(2):
        built.check(phone, Action.CALL, NAME, "")
    assert told == [("iot:phone", Action.CALL, True)] * 2


def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CACHE", 1000)
    built = index(a=allow("w/**"))
    for turn in range(100):
        name = Name(f"{AUTHORITY}/w/{turn}")
        assert built.check(phone, Action.CALL, name, "").allowed
        assert built.check(phone, Action.CALL, name, "") is built.check(
            phone, Action.CALL, name, ""
        )
    assert len(built._loud) < 5


# --- against the obvious evaluation ----------------------------------------------------------

segments = st.sampled_from(["a", "b", "$s"])
names = st.lists(segments, min_size=1, max_size=4).map(
    lambda parts: f"{AUTHORITY}/{'/'.join(parts)}"
)
patterns = (
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "$s", "*"]), max_size=4), st.sampled_from(["", "**"])
    )
    .filter(any)
    .map(lambda t: "/".join([*t[0], *([t[1]] if t[1] else [])]))
)
subjects = st.builds(
    Subject, st.sampled_from(["*", "u:1", "u:2"]), st.sampled_from(["*", "device", "person"])
)
groups = st.lists(st.sampled_from(["*", "red", "blue"]), max_size=2).map(tuple)
endpoints = st.sampled_from(["http://h", "http://h/a", "http://h/a/b", "http://i", "http://h/{x}"])
prefixes = st.sampled_from(["http://h", "http://h/a", "http://i"])
effects = st.sampled_from(["allow", "deny"])


def several(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, min_size=1, max_size=3).map(tuple)


policies = st.one_of(
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
        st.lists(prefixes, max_size=2).map(tuple),
    ),
)
principals = st.builds(
    Principal, st.sampled_from(["u:1", "u:2"]), st.sampled_from(["device", "person"])
)
questions = st.builds(
    Question,
    principals,
    st.sampled_from(Action),
    names.map(Name),
    st.sampled_from(["", "u:1"]),
    st.sampled_from(["", "red", "green"]),
    st.one_of(st.just(""), endpoints),
)
steps = st.lists(st.tuples(st.sampled_from("pqr"), st.one_of(st.none(), policies)), max_size=12)


def expected(table: dict[str, AccessPolicy | LifecyclePolicy], question: Question) -> bool:
    effects = {p.effect for p in table.values() if is_match(p, question)}
    owner = question.owner == question.principal.id and question.action in (
        Action.PUBLISH,
        Action.CREATE,
        Action.DESTROY,
    )
    return "deny" not in effects and (owner or "allow" in effects)


def is_match(policy: AccessPolicy | LifecyclePolicy, question: Question) -> bool:
    who = question.principal
    condition = restriction_of(policy, question.action)
    return (
        any(s.principal in ("*", who.id) and s.kind in ("*", who.kind) for s in policy.subjects)
        and question.action in policy.actions
        and any(Pattern.parse(n, authority=AUTHORITY).matches(question.name) for n in policy.names)
        and (condition is None or condition(question))
    )


@given(steps, st.lists(questions, min_size=1, max_size=5))
def test_the_index_decides_as_every_rule_in_turn_would(
    log: list[tuple[str, AccessPolicy | LifecyclePolicy | None]], asked: list[Question]
) -> None:
    built = AccessIndex(AUTHORITY)
    table: dict[str, AccessPolicy | LifecyclePolicy] = {}
    for name, policy in log:
        if policy is None:
            built.remove("Policy", name)
            table.pop(name, None)
        else:
            built.put("Policy", name, policy)
            table[name] = policy
        for question in asked:
            decision = built.decide(question)
            assert decision.allowed is expected(table, question)
            assert built.explain(question).allowed is decision.allowed
            bare = question._replace(group="", endpoint="")
            cached = built.check(*question[:4])
            assert cached.allowed is expected(table, bare)
            assert cached.reasons[0].effect == built.decide(bare).reasons[0].effect
    for name in table:
        built.remove("Policy", name)
    assert all(is_empty(rules) for rules in [*built._enforced.values(), *built._shadow.values()])


def is_empty(rules: object) -> bool:
    tables = (rules._literals, rules._prefixes, rules._tree.root.children)  # type: ignore[attr-defined]
    return not any(tables)
