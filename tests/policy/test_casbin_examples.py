"""Casbin's own examples: imported they decide as casbin does; what cannot be said is refused."""

import contextlib
from collections.abc import Iterator, Mapping
from itertools import product
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import casbin
import msgspec
import pytest
from casbin.persist.adapters.string_adapter import StringAdapter
from casbin.util import key_match2_func
from hypothesis import given
from hypothesis import strategies as st
from simpleeval import AttributeDoesNotExist

from policy.casbin_exchange.importing import Manifest, Wishes, manifests_of
from policy.casbin_exchange.store import CasbinText, read_foreign
from policy.casbin_exchange.terms import NotExpressible
from policy.decision import Question
from policy.language import parse_manifests
from policy.model import Action, Principal
from registry.names import parse_name
from tests.policy.trial import trial
from tests.support import ROOT

EXAMPLES = ROOT / "tests" / "policy" / "casbin_examples"
READ_WRITE = {"read": Action.CALL, "write": Action.PUBLISH}
GET_POST = {"GET": Action.CALL, "POST": Action.PUBLISH}
PEOPLE = ("alice", "bob", "cathy", "root", "admin", "data2_admin", "data_group_admin", "eve")
DATA = ("data1", "data2", "data3", "data_group")
PATHS = (
    "/alice_data/resource1",
    "/alice_data/resource2",
    "/alice_data",
    "/alice_data/x/y",
    "/bob_data/x",
    "/cathy_data",
    "/alice_data2/myid/using/res_id",
    "/alice_data2/myid/using",
    "/book/1",
    "/book/1/2",
    "/pen/1",
    "/pen2/1",
    "book_group",
)


class Example(NamedTuple):
    """One of casbin's examples, and what is asked of it."""

    name: str
    actions: dict[str, Action] = READ_WRITE
    objects: tuple[str, ...] = DATA
    domains: tuple[str, ...] = ()
    matching: Mapping[str, str] = MappingProxyType({})


EXPRESSIBLE = [
    Example("basic"),
    Example("basic_with_root"),
    Example("rbac"),
    Example("rbac_with_hierarchy"),
    Example("rbac_with_deny"),
    Example("rbac_with_resource_roles"),
    Example("rbac_with_pattern", GET_POST, PATHS, matching={"g2": "keyMatch2"}),
    Example("rbac_with_domains", domains=("domain1", "domain2", "domain3")),
    Example("keymatch", GET_POST, PATHS),
    Example("keymatch2", GET_POST, PATHS),
]


def text_of(name: str) -> CasbinText:
    model, policy = (EXAMPLES / f"{name}_{part}" for part in ("model.conf", "policy.csv"))
    return CasbinText(model.read_text(), policy.read_text())


def imported(name: str, wishes: Wishes) -> list[Manifest]:
    return manifests_of(read_foreign(text_of(name)), wishes)


def enforcer(example: Example) -> Any:
    made = casbin.Enforcer(
        str(EXAMPLES / f"{example.name}_model.conf"), str(EXAMPLES / f"{example.name}_policy.csv")
    )
    made.logger.disabled = True
    for manager in example.matching:
        made.add_named_matching_func(manager, key_match2_func)
    return made


def requests(example: Example) -> Iterator[tuple[str, ...]]:
    for sub, obj, act in product(PEOPLE, example.objects, example.actions):
        if example.domains:
            yield from ((sub, domain, obj, act) for domain in example.domains)
        else:
            yield sub, obj, act


@pytest.mark.parametrize("example", EXPRESSIBLE, ids=lambda example: example.name)
def test_an_example_decides_as_casbin_does(example: Example) -> None:
    manifests = imported(example.name, Wishes("user", example.actions, matching=example.matching))
    index = trial(
        "site", parse_manifests(msgspec.json.encode(manifests), "application/json", "site")
    )
    oracle, answers = enforcer(example), set()
    for request in requests(example):
        sub, *path, act = request
        name = parse_name("/".join(path).removeprefix("/"), authority="site")
        question = Question(Principal(f"user:{sub}", "user"), example.actions[act], name)
        expected = oracle.enforce(*request)
        assert index.decide(question).allowed is expected, request
        answers.add(expected)
    assert answers == {True, False}


def test_rules_with_attributes_decide_as_casbin_does() -> None:
    manifests = imported("abac_rule", Wishes("user", READ_WRITE))
    documents = parse_manifests(msgspec.json.encode(manifests), "application/json", "site")
    index, oracle = trial("site", documents), enforcer(Example("abac_rule"))
    for age, obj, act in product((10, 18, 19, 59, 60, 61), ("/data1", "/data2"), READ_WRITE):
        principal = Principal("user:a", "user", attributes={"Age": float(age)})
        question = Question(principal, READ_WRITE[act], parse_name(obj, authority="site"))
        expected = oracle.enforce(SimpleNamespace(Age=age), obj, act)
        assert index.decide(question).allowed is expected, (age, obj, act)
    # Casbin raises when an attribute is missing; here the rule does not hold.
    nobody = Question(
        Principal("user:a", "user"), Action.CALL, parse_name("data1", authority="site")
    )
    with pytest.raises(AttributeDoesNotExist):
        oracle.enforce(SimpleNamespace(Name="a"), "/data1", "read")
    assert not index.decide(nobody).allowed


def test_owners_as_attributes_of_objects_decide_as_casbin_does() -> None:
    manifests = imported("abac", Wishes("user", READ_WRITE))
    owner = {"names": ["data1"], "attributes": {"Owner": "user:alice"}}
    manifests.append({**manifests[-1], "kind": "ObjectAttributes", "spec": owner})
    documents = parse_manifests(msgspec.json.encode(manifests), "application/json", "site")
    index = trial("site", documents)
    oracle = casbin.Enforcer(str(EXAMPLES / "abac_model.conf"))
    oracle.logger.disabled = True
    for sub, act in product(PEOPLE, READ_WRITE):
        question = Question(
            Principal(f"user:{sub}", "user"), READ_WRITE[act], parse_name("data1", authority="site")
        )
        expected = oracle.enforce(sub, SimpleNamespace(Owner="alice"), act)
        assert index.decide(question).allowed is expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rbac_with_not_deny", "it allows what nothing denies"),
        ("priority", "its rules have an order"),
        ("ipmatch", "ipMatch(r.sub, '192.168.2.0/24') cannot be said"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(name: str, said: str) -> None:
    with pytest.raises(NotExpressible) as caught:
        imported(name, Wishes("user", READ_WRITE))
    assert said in str(caught.value)


SUBS, ACTS = ("a", "b", "r"), ("read", "write")
ANY = {
    "apiVersion": "hilum/v1",
    "kind": "Role",
    "metadata": {"name": "nobody"},
    "spec": {},
}
"""For models that never allow anything."""
ROWS = st.lists(
    st.tuples(
        st.sampled_from(SUBS),
        st.sampled_from(("x", "/y/*", "/:id/z", "/y", "/y/z", "*")),
        st.sampled_from((*ACTS, "*", "(read)|(write)")),
        st.sampled_from(("allow", "deny")),
    ),
    min_size=1,
    max_size=4,
)
LINKS = st.lists(st.sampled_from([("a", "r"), ("b", "r"), ("r", "s"), ("a", "s")]), max_size=3)
TERMS = st.sampled_from(
    [
        "r.sub == p.sub",
        "g(r.sub, p.sub)",
        'r.sub == "b"',
        'r.sub != "b"',
        "keyMatch2(r.obj, p.obj)",
        "r.act == p.act",
        "r.act != p.act",
        'p.act == "*"',
        'r.act in ("read", "x")',
        "regexMatch(r.act, p.act)",
        "!regexMatch(r.act, p.act)",
    ]
)
MATCHERS = st.recursive(
    TERMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(("&&", "||")), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda text: f"!({text})"),
    ),
    max_leaves=5,
)
HEAD = """\
[request_definition]
r = sub, obj, act

[policy_definition]
p = sub, obj, act, eft

[role_definition]
g = _, _

[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))

[matchers]
m = """


@given(MATCHERS, ROWS, LINKS)
def test_any_model_is_refused_or_decides_as_casbin_does(
    matcher: str, rows: list[tuple[str, ...]], links: list[tuple[str, str]]
) -> None:
    lines = [f"p, {', '.join(row)}" for row in rows] + [f"g, {', '.join(link)}" for link in links]
    text = CasbinText(HEAD + matcher, "\n".join(lines))
    try:
        manifests = manifests_of(read_foreign(text), Wishes("user", READ_WRITE))
    except NotExpressible as error:
        assert str(error)  # noqa: PT017 - what is refused says why
        return
    documents = parse_manifests(msgspec.json.encode(manifests or [ANY]), "application/json", "s")
    index = trial("s", documents)
    model = casbin.Enforcer.new_model(text=text.model)
    oracle = casbin.Enforcer(model, StringAdapter(text.policy))
    oracle.logger.disabled = True
    for sub, obj, act in product(SUBS, ("x", "/y/z", "/y"), ACTS):
        question = Question(
            Principal(f"user:{sub}", "user"), READ_WRITE[act], parse_name(obj, authority="s")
        )
        expected = oracle.enforce(sub, obj, act)
        assert index.decide(question).allowed is expected, (sub, obj, act, text, manifests)


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_read_or_refused(model: str, policy: str) -> None:
    for text in (CasbinText(model, policy), CasbinText(HEAD + model, policy)):
        with contextlib.suppress(NotExpressible):
            manifests_of(read_foreign(text), Wishes("user", READ_WRITE))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("r = sub, obj, act", "r = user, path, act"), "a request is 'sub, obj, act' or"),
        (("r.act == p.act", "r.act == p.what"), "the policy has no column what"),
        (("r.act == p.act", "(" * 40 + "r.act == p.act"), "is no expression"),
        (("r.act == p.act", "not " * 1000 + "true"), "nested too deeply"),
        (("r.act == p.act", "eval(p.eval)"), "eval is understood with a column"),
        (("r.act == p.act", "r.sub.kind == 'x'"), "subject.kind means something else here"),
        (("r.act == p.act", "r.sub.A > 1 && r.sub.A == 'x'"), "is a string here, a number there"),
        (("r.act == p.act", "r.sub.A.B == 1"), "r.sub.A.B is no attribute"),
        (("r.act == p.act", "r.obj != 'x'"), "an object can be asked for only"),
        (("r.act == p.act", "g(r.sub, 'x') && g(r.sub, 'r')"), "asks for two roles at once"),
        (("r.act == p.act", "keyMatch(r.obj, '/a*')"), "ends within a segment"),
        (("r.act == p.act", "keyMatch2(r.obj, '/a.b/:c')"), "only whole segments can be variable"),
        (("r.act == p.act", "keyMatch4(r.obj, '/{a}/{a}')"), "asks for equal segments"),
        (("r.act == p.act", "globMatch(r.obj, '/a?')"), "only whole segments can be variable"),
        (("r.act == p.act", "g9(r.obj, 'x')"), "no role definition g9"),
        (("r.act == p.act", " || ".join(["r.sub.A"] * 300)), "more than 256 altern"),
        (("r.obj == p.obj", "r.obj == '//'"), "has an empty segment"),
        (("data1, read", "data1"), "a row has 3 columns"),
        (("alice, data2_admin", "alice"), "a row of g has two or three columns"),
        (("[matchers]", "[watchers]"), "one matcher definition, this one has 0"),
    ],
)
def test_what_a_model_may_not_say_is_told(change: tuple[str, str], said: str) -> None:
    text = CasbinText(*(part.replace(*change) for part in text_of("rbac")))
    text = text._replace(policy=text.policy + "\ng, x, z\ng, y, r\n")
    with pytest.raises(NotExpressible) as caught:
        manifests_of(read_foreign(text), Wishes("user", READ_WRITE))
    assert said in str(caught.value), caught.value


def test_two_actions_are_never_made_one() -> None:
    with pytest.raises(NotExpressible, match="read, write would all be call"):
        imported("basic", Wishes("user", {"read": Action.CALL, "write": Action.CALL}))
