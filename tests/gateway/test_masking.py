"""What an allow obliges to: members that are masked, headers that are added, never a leak."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.masking import mask_of, masked
from gateway.message import Event, EventId, Refusal, Reply, Status
from gateway.seeing.sight import MaskedSubscriber, Sight
from policy.decision import Decision
from policy.model import AccessPolicy, Action, Obligations, Principal, Subject
from registry.names import Name
from tests.gateway.play import ANN, Stage, answer

JSON = b"application/json"


@pytest.mark.parametrize(
    ("payload", "mask", "expected"),
    [
        ('{"a": 1, "b": 2}', ("/a",), '{"a":null,"b":2}'),
        ('{"a": {"b": [1, {"c": 2}]}}', ("/a/b/1/c", "/x", "/a/x/y"), '{"a":{"b":[1,{"c":null}]}}'),
        ('[{"n": 1}, {"n": 2}, 3]', ("/*/n",), '[{"n":null},{"n":null},3]'),
        ("[1, 2]", ("/1",), "[1,null]"),
        ("[1, 2]", ("/2", "/-", "/01x", "/-1"), "[1,2]"),
        ('{"*": 1, "a": 2}', ("/*",), '{"*":null,"a":2}'),
        (
            '{"a/b": 1, "c~d": 2, "~1": 3}',
            ("/a~1b", "/c~0d", "/~01"),
            '{"a/b":null,"c~d":null,"~1":null}',
        ),
        ('{"": 1}', ("/",), '{"":null}'),
        ('{"a": {"s": 1}, "a": {}}', ("/a/s",), '{"a":{}}'),
        ('{"s": 1, "\\u0073": 2}', ("/s",), '{"s":null}'),
        ('"text"', ("/a",), '"text"'),
        ("123456789012345678901234567890", ("/a",), "123456789012345678901234567890"),
    ],
)
def test_members_become_null(payload: str, mask: tuple[str, ...], expected: str) -> None:
    assert masked(payload.encode(), JSON, mask) == expected.encode()


@pytest.mark.parametrize(
    ("payload", "content_type", "passes"),
    [
        (b'{"a":1}', b"application/json; charset=utf-8", True),
        (b'{"a":1}', b"application/senml+json", True),
        (b'{"a":1}', b"", True),
        (b'{"a":1}', b"application/octet-stream", True),
        (b"12345", b"text/plain", False),
        (b"name,ssn", b"text/csv", False),
        (b"\x1f\x8b\x08", JSON, False),
        (b'{"a":', JSON, False),
        (b"\xff", JSON, False),
        (b"[" * 100_000, JSON, False),
        (b'{"a":"\\ud800"}', JSON, False),
    ],
)
def test_what_is_no_json_never_passes(payload: bytes, content_type: bytes, passes: bool) -> None:
    assert (masked(payload, content_type, ("/x",)) is not None) is passes


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abs"), inner, max_size=3)
    ),
)
MASKS = st.lists(
    st.lists(st.sampled_from(["a", "b", "s", "*", "0", "1"]), min_size=1, max_size=3).map(
        lambda steps: "".join(f"/{step}" for step in steps)
    ),
    max_size=3,
).map(tuple)


@given(st.binary(), MASKS)
def test_any_bytes_are_masked_or_refused(payload: bytes, mask: tuple[str, ...]) -> None:
    seen = masked(payload, JSON, mask)
    assert seen is None or json.loads(seen) is not ...


@given(VALUES, MASKS)
def test_nothing_under_a_mask_is_left(value: object, mask: tuple[str, ...]) -> None:
    seen = masked(json.dumps(value).encode(), JSON, mask)
    assert seen is not None
    left = json.loads(seen)
    for pointer in mask:
        assert all(found is None for found in under(left, pointer.split("/")[1:]))


def under(value: object, steps: list[str]) -> list[object]:
    if not steps:
        return [value]
    inner: list[object] = []
    if isinstance(value, dict):
        inner = [value[steps[0]]] if steps[0] in value else []
    elif isinstance(value, list) and steps[0] == "*":
        inner = list(value)
    elif isinstance(value, list) and steps[0].isdigit():
        inner = value[int(steps[0]) : int(steps[0]) + 1]
    return [found for one in inner for found in under(one, steps[1:])]


# --- calls -----------------------------------------------------------------------------------


def staged(**duties: object) -> Stage:
    stage = Stage()
    policy = AccessPolicy(
        "allow",
        (Subject(ANN.id),),
        (Action.CALL,),
        ("**",),
        obligations=Obligations(**duties),  # type: ignore[arg-type]
    )
    stage.access.put("AccessPolicy", "duties", policy)
    stage.register("a")
    return stage


def json_answer() -> Reply:
    return Reply(Status.OK, code=200, content_type=JSON, length=99)


def test_a_reply_is_held_until_it_is_whole_and_then_masked() -> None:
    stage = staged(mask=("/secret",))
    stage.begin()
    head = json_answer()
    stage.http.answers[0].reply(head, b'{"secret": 1,', end=False)
    assert stage.played() == ["a send ."]
    stage.http.answers[0].reply_body(b' "b": 2}', end=True)
    assert stage.played() == ['caller reply 200 {"secret":null,"b":2}.']
    assert head.length == len('{"secret":null,"b":2}')


def test_a_reply_without_payload_passes() -> None:
    stage = staged(mask=("/secret",))
    stage.begin()
    stage.http.answers[0].reply(answer(204), b"", end=True)
    assert stage.played()[1:] == ["caller reply 204 ."]


def test_a_reply_that_is_no_json_is_refused() -> None:
    stage = staged(mask=("/secret",))
    stage.begin()
    stage.http.answers[0].reply(answer(), b"secret=1", end=True)
    assert stage.played()[1:] == ["caller refuse denied"]


def test_a_reply_that_is_too_large_is_refused_and_its_provider_stopped() -> None:
    stage = staged(mask=("/secret",))
    stage.plane.limit = 10
    exchange, _ = stage.begin()
    stage.http.answers[0].reply(json_answer(), b'{"a": 1', end=False)
    stage.http.answers[0].reply_body(b'      "b": 2', end=False)
    stage.http.answers[0].reply_body(b"}", end=False)
    assert stage.played()[1:] == ["caller refuse denied"]
    stage.plane.sweep(stage.plane.now)
    assert stage.played() == ["a cancel"]
    assert exchange.done


def test_a_reply_that_breaks_off_leaks_nothing() -> None:
    stage = staged(mask=("/secret",))
    stage.begin()
    stage.http.answers[0].reply(json_answer(), b'{"a": 1', end=False)
    stage.http.answers[0].failed(Status.UNAVAILABLE, "gone", written=True)
    assert stage.played()[1:] == ["caller refuse provider-error"]


def test_a_refusal_passes_the_mask() -> None:
    stage = staged(mask=("/secret",))
    stage.begin()
    stage.http.answers[0].failed(Status.PROVIDER_ERROR, "no", written=True)
    assert stage.played()[-1] == "caller refuse provider-error"


def test_headers_are_added_and_nobody_can_send_his_own() -> None:
    stage = staged(headers={"X-Purpose": "care"}, mask=("/s",))
    fields = []
    for name in (b"x-purpose", b"Accept-Encoding", b"Range", b"X-Other"):
        fields += [name, b": ", b"mine", b"\r\n"]
    exchange, _ = stage.exchange()
    exchange.call.fields = fields
    exchange.begin(b"", end=True)
    assert b"".join(exchange.call.fields) == b"X-Other: mine\r\nX-Purpose: care\r\n"


def test_a_header_with_an_underscore_is_nobody_s_own_either() -> None:
    """CGI and WSGI give a service both by the same name."""
    stage = staged(headers={"X_Ward": "east"})
    exchange, _ = stage.exchange()
    exchange.call.fields = [b"X-Ward", b": ", b"west", b"\r\n"]
    exchange.begin(b"", end=True)
    assert b"".join(exchange.call.fields) == b"X_Ward: east\r\n"


def test_without_a_mask_replies_stream() -> None:
    stage = staged(log=True)
    stage.begin()
    stage.http.answers[0].reply(answer(), b"one", end=False)
    assert stage.played()[1:] == ["caller reply 200 one"]


# --- events ----------------------------------------------------------------------------------


def event(payload: bytes, content_type: str = "") -> Event:
    return Event(Name("s/c"), EventId("r", 1), 5, "u:a", content_type, payload, 2, retain=False)


class Heard:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def deliver(self, event: Event) -> None:
        self.events.append(event)

    def gap(self, gap: object) -> None:
        raise AssertionError

    def ended(self, refusal: Refusal) -> None:
        raise AssertionError


def test_events_are_masked_once_for_all_who_see_alike() -> None:
    sight = Sight(lambda _, __, ___: ("/s",))
    one, two, other = Heard(), Heard(), Heard()
    news = event(b'{"s":1,"t":2}')
    for heard, mask in ((one, ("/s",)), (two, ("/s",)), (other, ("/t",))):
        MaskedSubscriber(heard, mask, sight).deliver(news)
    assert one.events[0] is two.events[0]
    assert one.events[0].payload == b'{"s":null,"t":2}'
    assert other.events[0].payload == b'{"s":1,"t":null}'
    assert (one.events[0].id, one.events[0].qos, one.events[0].retain) == (news.id, 2, False)
    MaskedSubscriber(one, ("/s",), sight).deliver(event(b"s=1", "text/plain"))
    assert len(one.events) == 1


def test_a_last_value_that_cannot_be_masked_is_refused() -> None:
    sight = Sight(lambda who, _, __: ("/s",) if who.id == "u:a" else ())
    route: object = None
    plain = event(b"s=1")
    ann, bob = Principal("u:a", "person"), Principal("u:b", "person")
    with pytest.raises(Refusal, match="it is no JSON"):
        sight.whole(plain, ann, route)  # type: ignore[arg-type]
    for who in (bob, None):
        assert sight.whole(plain, who, route) is plain  # type: ignore[arg-type]
    assert sight.whole(None, ann, route) is None  # type: ignore[arg-type]


def test_a_decision_without_duties_masks_nothing() -> None:
    assert mask_of(Decision(True, ())) == ()
    assert mask_of(Decision(True, (), Obligations(mask=("/a",)))) == ("/a",)
