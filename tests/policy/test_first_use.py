"""What a controller is asked and may answer: strict, small, and without surprises."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.first_use import (
    ANSWER_BYTES,
    Covering,
    FirstUseAnswer,
    NoAnswer,
    question_of,
    read_answer,
    schemas,
)
from policy.language import parse_manifests
from policy.model import Action, FirstUsePolicy, Principal
from registry.documents import InvalidDocument

POLICY = FirstUsePolicy(("lab/**",), call="lab/door/decide", idle=10, hard=60, deny=5)


def answer(**members):
    return read_answer(msgspec.json.encode({"allow": True, **members}))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"true",
        b"[]",
        b"{}",
        b'{"allow": 1}',
        b'{"allow": "true"}',
        b'{"allow": null}',
        b'{"allow": false, "allow": true}',
        b'{"allow": true} {"allow": true}',
        b'{"allow": true, "because": "I say so"}',
        b'{"allow": true, "hard": -1}',
        b'{"allow": true, "hard": 1e400}',
        b'{"allow": true, "reads": ["subject.rank"]}',
        b'{"allow": true, "reads": "environment.threat"}',
        b'{"allow": true, "policies": ["all"]}',
        b'{"allow": true, "reason": "a\\u0000b"}',
        b'{"allow": true, "reason": "a\\n"}',
        b'{"allow": true, "reads": ["environment.threat\\n"]}',
        b'{"allow": true, "obligations": {"dance": true}}',
        b'{"allow": true, "obligations": {"mask": [""]}}',
        b'{"allow": true, "obligations": {"mask": ["secret"]}}',
        b'{"allow": true, "obligations": {"headers": {"X-A": "1\\r\\nX-B: 2"}}}',
        b'{"allow": true, "obligations": {"headers": {"X-A: 1\\r\\nX-B": "2"}}}',
        b'{"allow": true, "obligations": {"headers": {"Content-Length": "2"}}}',
        b'\xff\xfe{"allow": true}',
        b'{"allow": true, "reason": "' + b"x" * 2000 + b'"}',
        b'{"allow": true, "policies": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"allow": true}' + b" " * ANSWER_BYTES,
    ],
)
def test_what_is_no_answer_is_none(text):
    with pytest.raises(NoAnswer, match="no answer"):
        read_answer(text)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_bytes_are_an_answer_or_none(data):
    try:
        found = read_answer(data)
    except NoAnswer:
        return
    assert found.allow in (True, False)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    ),
    st.sampled_from(FirstUseAnswer.__struct_fields__),
)
def test_any_value_of_any_member_is_read_or_refused(value, member):
    try:
        found = answer(**{member: value})
    except NoAnswer:
        return
    assert found.seconds(POLICY, 0.0) <= POLICY.hard
    assert found.idle_seconds(POLICY) <= POLICY.idle


def test_an_answer_shortens_what_the_policy_says_and_never_prolongs_it():
    assert answer().seconds(POLICY, 1000.0) == 60
    assert answer(hard=5).seconds(POLICY, 1000.0) == 5
    assert answer(hard=500).seconds(POLICY, 1000.0) == 60
    assert answer(allow=False).seconds(POLICY, 1000.0) == 5
    assert answer(until=1020).seconds(POLICY, 1000.0) == 20
    assert answer(until=990).seconds(POLICY, 1000.0) == -10
    assert answer().idle_seconds(POLICY) == 10
    assert answer(idle=3).idle_seconds(POLICY) == 3
    assert answer(idle=30).idle_seconds(POLICY) == 10


def test_what_was_read_from_the_clock_holds_to_the_end_of_the_minute():
    assert answer(reads=["environment.time"]).seconds(POLICY, 1230.0) == 30
    assert answer(reads=["environment.time"], until=1250).seconds(POLICY, 1230.0) == 20
    assert answer(reads=["environment.threat"]).seconds(POLICY, 1230.0) == 60


def test_a_question_says_who_wants_what_and_what_holds():
    ann = Principal("user:ann", "user", attributes={"rank": "nurse", "wards": ("a", "b")})
    asked = question_of(ann, Action.CALL, "lab/door/open", "token:door", {"threat": 3.0})
    assert msgspec.to_builtins(asked) == {
        "principal": "user:ann",
        "kind": "user",
        "action": "call",
        "name": "lab/door/open",
        "owner": "token:door",
        "attributes": {"rank": "nurse", "wards": ("a", "b")},
        "environment": {"threat": 3.0},
    }
    assert Covering("labs", POLICY).label == "FirstUsePolicy/labs"


def test_the_schemas_are_published():
    found = schemas()
    assert "allow" in str(found["answer"])
    assert "environment" in str(found["question"])


def manifest(**spec):
    document = {
        "apiVersion": "hilum/v1",
        "kind": "FirstUsePolicy",
        "metadata": {"name": "first"},
        "spec": {"names": ["door/**"], **spec},
    }
    return parse_manifests(msgspec.json.encode(document), "application/json", "lab")


def test_a_policy_names_one_controller_and_uses_that_can_wait():
    (document,) = manifest(call="desk/decide", actions=["call", "describe"])
    assert document.spec.call == "lab/desk/decide"
    assert document.spec.names == ("lab/door/**",)
    (document,) = manifest(plugin="wards.duty:decide")
    assert document.spec.plugin == "wards.duty:decide"
    for wrong in (
        {},
        {"call": "desk/decide", "plugin": "wards:decide"},
        {"plugin": "wards"},
        {"plugin": "os.system:"},
        {"call": "desk//decide"},
        {"call": "desk/decide", "actions": ["call", "bind"]},
        {"call": "desk/decide", "timeout": 0},
        {"call": "desk/decide", "unreachable": "maybe"},
    ):
        with pytest.raises(InvalidDocument):
            manifest(**wrong)
