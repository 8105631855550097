"""Topic names, filters, shares and the index of filters (MQTT 5.0 section 4.7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.mqtt.wire.packets import Malformed, Reason
from adapters.mqtt.wire.topics import (
    LEVELS,
    FilterIndex,
    check_filter,
    check_topic,
    parse_share,
    topic_of,
)
from tests.adapters.mqtt_bytes import matches

MATCHES = [
    ("sport/tennis/player1/#", "sport/tennis/player1"),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
    ("sport/#", "sport"),
    ("#", "sport/tennis"),
    ("#", "/"),
    ("sport/tennis/+", "sport/tennis/player1"),
    ("sport/+", "sport/"),
    ("+/+", "/finance"),
    ("/+", "/finance"),
    ("+", "finance"),
    ("+/tennis/#", "sport/tennis"),
    ("$SYS/#", "$SYS/monitor"),
    ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ("a//b", "a//b"),
    ("a/+/b", "a//b"),
    ("a/$x", "a/$x"),
    ("+/$x", "a/$x"),
]
MISSES = [
    ("sport/tennis/+", "sport/tennis/player1/ranking"),
    ("sport/+", "sport"),
    ("+", "/finance"),
    ("#", "$SYS/monitor"),
    ("+/monitor/Clients", "$SYS/monitor/Clients"),
    ("+", "$SYS"),
    ("ACCOUNTS", "Accounts"),
    ("/A", "A"),
    ("a", "a/b"),
    ("a/b", "a"),
    ("a/+/c", "a/b"),
]


@pytest.mark.parametrize(("text", "topic"), MATCHES)
def test_matches(text, topic):
    index = FilterIndex()
    index.add(text, "x")
    assert matches(text, topic)
    assert index.match(topic) == ["x"]


@pytest.mark.parametrize(("text", "topic"), MISSES)
def test_misses(text, topic):
    index = FilterIndex()
    index.add(text, "x")
    assert not matches(text, topic)
    assert index.match(topic) == []


@pytest.mark.parametrize("text", ["a", "/", "a//b", " ", "+", "#", "+/#", "a/+/b/#", "$share/g/#"])
def test_filters(text):
    check_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a#",
        "a/#/b",
        "a+",
        "+a",
        "a/+b/c",
        "#a",
        "##",
        "++",
        "$share",
        "$share/",
        "$share/g",
        "$share/g/",
        "$share//a",
        "$share/g+/a",
        "$share/#/a",
        "$share/g/a#",
        "/" * LEVELS,
        "$share/g/" + "/" * LEVELS,
    ],
)
def test_what_is_no_filter(text):
    with pytest.raises(Malformed) as refused:
        check_filter(text)
    assert refused.value.reason == Reason.TOPIC_FILTER_INVALID


def test_topics():
    for topic in ("a", "/", " ", "$SYS/a", "a" * 65_535):
        check_topic(topic)
        assert topic_of(topic.encode()) == topic
    assert topic_of(b"a/b") is topic_of(bytes(bytearray(b"a/b")))
    for topic in ("", "#", "a/+"):
        with pytest.raises(Malformed) as refused:
            check_topic(topic)
        assert refused.value.reason == Reason.TOPIC_NAME_INVALID


def test_shares():
    assert parse_share("$share/g/a/#") == ("g", "a/#")
    assert parse_share("$share/g//a") == ("g", "/a")
    assert parse_share("a/b") == ("", "a/b")
    assert parse_share("$shared/g/a") == ("", "$shared/g/a")


LEVEL = st.sampled_from(["a", "b", "", "$x"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = (
    st.tuples(
        st.lists(LEVEL | st.just("+"), min_size=1, max_size=4),
        st.sampled_from([[], ["#"]]),
    )
    .map(lambda parts: "/".join(parts[0] + parts[1]))
    .filter(bool)
) | st.just("#")


@given(st.lists(st.tuples(FILTER, st.integers(0, 3))), st.lists(st.integers(0, 20)), TOPIC)
def test_the_index_finds_what_matches_whatever_was_taken_out(added, removed, topic):
    index, model = FilterIndex(), set()
    for text, entry in added:
        index.add(text, entry)
        model.add((text, entry))
    for at in removed:
        if at < len(added):
            index.discard(*added[at])
            model.discard(added[at])
    wanted = sorted(entry for text, entry in model if matches(text, topic))
    assert sorted(index.match(topic)) == wanted


@given(st.lists(st.tuples(FILTER, st.integers(0, 3))))
def test_an_empty_index_holds_nothing(added):
    index = FilterIndex()
    for text, entry in added:
        index.add(text, entry)
    for text, entry in added:
        index.discard(text, entry)
    index.discard("never/there", 1)
    index.discard("never/+", 1)
    assert not index._exact
    assert not index._root.children
