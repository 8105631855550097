"""Topics are names: spellings, wildcards, the topics of calls; work in small steps."""

import asyncio
import contextlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from adapters.mqtt.desk import names as names_module
from adapters.mqtt.desk import scanning
from adapters.mqtt.desk.desk import puback_reason, suback_reason
from adapters.mqtt.desk.names import Names, Ret, Rpc, called, parse_ret, parse_rpc
from adapters.mqtt.desk.scanning import Scans
from gateway.message import Status
from registry.names import InvalidName, encode_segment

NAMES = Names("snac.asu.edu", {"localhost", "127.0.0.1"}, {"other.org"})
SEGMENTS = st.sampled_from(["a", "b", "Band", "é", "a b", "100%", "x+y", "#1", "c~d", "😀"])
HEADS = st.sampled_from(["", "/", "localhost/", "/LOCALHOST/", "snac.asu.edu/", "urn:hilum:"])


@given(st.lists(SEGMENTS, min_size=1, max_size=4), HEADS, st.data())
def test_a_matched_name_is_spelled_so_that_the_filter_matches_it(segments, head, data):
    """Whatever mix of spellings and wildcards a filter is, the client knows whose event it is."""
    encoded = [encode_segment(segment) for segment in segments]
    if head == "urn:hilum:":
        head = "urn:hilum:localhost/"
    levels = []
    for plain, canonical in zip(segments, encoded, strict=True):
        plain = plain if not set("+#%/") & set(plain) else canonical
        levels.append(data.draw(st.sampled_from(["+", plain, canonical])))
    cut = data.draw(st.integers(0, len(levels)))
    if data.draw(st.booleans()):
        levels = [*levels[:cut], "#"]
    text = head + "/".join(levels)
    assume("+" in text or "#" in text)
    name = NAMES.name_of("/".join(encoded))
    wild = NAMES.wild(text)
    assert wild.pattern.matches(name)
    topic = wild.topic(name)
    assert topic_matches_sub(text, topic)
    assert NAMES.name_of(topic) == name
    assert topic_matches_sub(wild.key, name)


@given(st.text(max_size=40))
def test_any_text_is_a_name_or_is_refused(text):
    for read in (NAMES.name_of, NAMES.wild):
        with contextlib.suppress(InvalidName):
            read(text)


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_topic_is_an_answer_or_none(text, client_id):
    for topic in (f"$ret/{text}", f"$rpc/{client_id}/{text}", text):
        ret, rpc = parse_ret(topic), parse_rpc(topic, client_id)
        assert ret is None or (ret.id.isdigit() and ret.name)
        assert rpc is None or (rpc.id and rpc.name and "/" not in rpc.id)
    method = called(f"$call/{text}")
    assert method is None or ("+" not in method and "#" not in method)


@pytest.mark.parametrize(
    ("topic", "found"),
    [
        ("$ret/Band/add/7", Ret("Band/add", "7", "")),
        ("$ret/Band/add/7/not-found", Ret("Band/add", "7", "not-found")),
        ("$ret/Band/7/8", Ret("Band/7", "8", "")),
        ("$ret/7", None),
        ("$ret/Band/add", None),
        ("$ret/", None),
    ],
)
def test_topics_of_answers(topic, found):
    assert parse_ret(topic) == found


def test_topics_of_calls():
    assert parse_rpc("$rpc/a/b/1/Band/add", "a/b") == Rpc("1", "Band/add")
    assert parse_rpc("$rpc/a/b/1/Band/add", "a") == Rpc("b", "1/Band/add")
    assert parse_rpc("$rpc/ab/1/Band/add", "a") is None
    assert called("$call/Band/add/+") == called("$call/Band/add/#") == "Band/add"
    assert called("$call/Band/add") is called("$call/+/add/+") is called("$call/+") is None


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(names_module, "CACHED", 100_000)
    names = Names("s")
    for number in range(5000):
        names.name_of(f"Band/{number}")
        assert len(names._known) <= 500
    assert names.name_of("Band/4999") == "s/Band/4999"


def test_every_status_has_a_reason_code_that_its_packet_may_have():
    for status in Status:
        if status is not Status.OK:
            assert puback_reason(status) in {0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
            assert suback_reason(status) in {0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2}


class TestSmallSteps:
    async def test_little_is_done_at_once(self):
        scans, done = Scans(), []
        scans.run("a", (done.append(n) for n in range(3)))
        assert done == [0, 1, 2]
        assert scans.finished("a") is None

    async def test_those_who_want_much_take_turns(self, monkeypatch):
        monkeypatch.setattr(scanning, "MOMENT", 0.0)
        monkeypatch.setattr(scanning, "TURN", 0.0)
        scans, done = Scans(), []

        def steps(who, number):
            for _ in range(number):
                done.append(who)
                yield

        scans.run("a", steps("a", 50))
        scans.run("b", steps("b", 5))
        assert scans.finished("c") is None
        await asyncio.gather(*scans.all_finished())
        assert (done.count("a"), done.count("b")) == (50, 5)
        assert "b" not in done[15:]
        assert scans.finished("a") is None

    async def test_what_ends_at_once_ends_no_turn_late(self, monkeypatch):
        """Thousands of scans whose filters were gone already were done in one go: 3.5 s."""
        now, done = [0.0], []
        monkeypatch.setattr(scanning, "perf_counter", lambda: now[0])

        def nothing():
            now[0] += scanning.TURN / 4
            done.append(None)
            yield from ()

        queue = scanning._Queue(Scans(), "a")
        queue.items.extend(nothing() for _ in range(10))
        assert queue.work()
        assert len(done) == 4
        assert queue.work()
        assert len(done) == 8

    async def test_a_step_that_fails_lets_nobody_wait(self, monkeypatch, caplog):
        monkeypatch.setattr(scanning, "MOMENT", 0.0)

        def steps():
            yield
            raise RuntimeError

        scans = Scans()
        scans.run("a", steps())
        await asyncio.wait_for(asyncio.gather(*scans.all_finished()), 5)
        assert "failed" in caplog.text
        assert scans.finished("a") is None
