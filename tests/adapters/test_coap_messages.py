"""The message layer as a play: datagrams in, datagrams out, time in the test's hands."""

import asyncio

import pytest

from adapters.coap.serving import datagrams
from adapters.coap.serving.datagrams import Messages
from adapters.coap.serving.peers import EXCHANGE_LIFETIME, MAX_RETRANSMIT, REMEMBERED
from adapters.coap.wire.codec import (
    ACK,
    CON,
    GET,
    NON,
    POST,
    PUT,
    RST,
    Message,
    code_text,
    decode,
    empty,
    encode,
)
from adapters.coap.wire.options import ECHO, OBSERVE, ordered
from tests.adapters.coap_site import PLAN, path_options, running_coap

ANN, BOB = ("127.0.0.1", 1000), ("127.0.0.1", 2000)


class Play:
    """A message layer between the test and a site."""

    def __init__(self, site):
        self.site = site
        # Not before the loop's time, which the site's own deadlines are looked at by.
        self.now = asyncio.get_running_loop().time()
        self.sent = []
        self.messages = Messages(
            site.listener.service,
            clock=lambda: self.now,
            random=lambda: 0.0,
            send=lambda data, address: self.sent.append((data, address)),
            key=b"k",
            peers=100,
        )

    def hear(self, message, address=ANN):
        data = message if isinstance(message, bytes) else encode(message)
        self.messages.received(data, address)

    def ask(self, code, path, payload=b"", *options, kind=CON, message_id=1, address=ANN):
        options = ordered([*path_options(path), *options])
        self.hear(Message(kind, code, message_id, b"tk", options, payload), address)

    def later(self, seconds):
        self.now += seconds
        self.messages.sweep(self.now)

    def publish(self, payload, qos=1):
        self.site.site.plane.now = self.now
        self.site.channels.append(self.site.news(), "site:test", "text/plain", payload, qos=qos)

    def said(self):
        """Return what was sent since the last time: kind, code and Message ID."""
        sent, self.sent = self.sent, []
        kinds = {CON: "CON", NON: "NON", ACK: "ACK", RST: "RST"}
        decoded = [decode(data) for data, _ in sent]
        return [(kinds[m.kind], code_text(m.code), m.message_id) for m in decoded]

    def trust(self, address=ANN):
        self.ask(GET, "Plan/none", message_id=60_000, address=address)
        self.messages.peers[address].verified = self.now + 1e6
        self.said()


@pytest.fixture
async def play(tmp_path):
    async with running_coap(tmp_path) as site:
        yield Play(site)


async def settle(play):
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_quick_answer_is_piggybacked(play):
    play.ask(POST, f"{PLAN}/make", b"hello", message_id=77)
    await settle(play)
    assert play.said() == [("ACK", "2.04", 77)]


async def test_a_request_that_needs_no_acknowledgement_gets_none(play):
    play.ask(POST, f"{PLAN}/make", b"hello", kind=NON, message_id=77)
    await settle(play)
    assert play.said() == [("NON", "2.04", 1)]


async def test_a_slow_answer_comes_separately_and_again_until_it_is_acknowledged(play):
    play.ask(POST, f"{PLAN}/late", b"x", message_id=77)
    await settle(play)
    play.later(0.04)
    assert play.said() == []
    play.later(0.02)
    assert play.said() == [("ACK", "0.00", 77)]
    play.ask(POST, f"{PLAN}/late", b"x", message_id=77)
    assert play.said() == [("ACK", "0.00", 77)], "a duplicate gets the same"
    play.site.responder.gate.set()
    await settle(play)
    assert play.said() == [("CON", "2.04", 1)]
    assert len(play.site.responder.calls) == 1
    play.later(1.9)
    assert play.said() == []
    play.later(0.2)
    assert play.said() == [("CON", "2.04", 1)]
    play.hear(empty(ACK, 1))
    play.later(100)
    assert play.said() == []


async def test_retransmissions_count_against_what_a_stranger_may_get(play):
    play.ask(POST, f"{PLAN}/late", b"x" * 30, message_id=77)
    size = len(encode(Message(CON, POST, 77, b"tk", path_options(f"{PLAN}/late"), b"x" * 30)))
    await settle(play)
    play.later(0.1)
    play.site.responder.gate.set()
    await settle(play)
    for _ in range(10):
        play.later(50)
    assert sum(len(data) for data, _ in play.sent) <= 3 * size
    assert len(play.sent) == 4, "an acknowledgement and three of at most five transmissions"


async def test_retransmission_doubles_its_time_and_ends(play):
    play.trust()
    play.ask(POST, f"{PLAN}/late", b"x", message_id=77)
    await settle(play)
    play.later(0.1)
    play.site.responder.gate.set()
    await settle(play)
    begin = play.now
    play.said()
    times = []
    while play.now < begin + 120:
        play.later(0.5)
        times += [play.now - begin] * len(play.said())
    assert times == [2, 6, 14, 30], "RFC 7252 section 4.2: 2 s, doubled, 4 times"
    assert len(times) == MAX_RETRANSMIT
    assert not play.messages.outgoing.flying


async def test_one_confirmable_message_at_a_time_is_on_its_way_to_a_peer(play):
    play.trust()
    for number in range(3):
        play.ask(POST, f"{PLAN}/late", b"x", message_id=number)
    await settle(play)
    play.later(0.1)
    play.said()
    play.site.responder.gate.set()
    await settle(play)
    assert [kind for kind, *_ in play.said()] == ["CON"]
    first = play.messages.peers[ANN].in_flight.message_id
    play.hear(empty(ACK, first))
    assert play.said() == [("CON", "2.04", first + 1)]
    play.hear(empty(RST, first + 1))
    assert play.said() == [("CON", "2.04", first + 2)]


async def test_a_duplicate_is_answered_from_memory_and_served_once(play):
    for _ in range(3):
        play.ask(PUT, f"{PLAN}/news", b"hello", message_id=5)
    assert play.said() == [("ACK", "2.04", 5)] * 3
    play.ask(PUT, f"{PLAN}/news", b"hello", message_id=5, address=BOB)
    assert play.said() == [("ACK", "2.04", 5)], "another client's IDs are its own"
    assert (await play.site.channels.position(play.site.news())).sequence == 2
    for _ in range(2):
        play.ask(PUT, f"{PLAN}/news", b"hello", kind=NON, message_id=6)
    assert [kind for kind, *_ in play.said()] == ["NON"], "its duplicate is ignored"


async def test_after_the_lifetime_of_an_exchange_its_id_is_free_again(play):
    play.ask(PUT, f"{PLAN}/news", b"hello", message_id=5)
    play.later(EXCHANGE_LIFETIME - 1)
    play.ask(PUT, f"{PLAN}/news", b"hello", message_id=5)
    play.later(1)
    play.ask(PUT, f"{PLAN}/news", b"hello", message_id=5)
    assert (await play.site.channels.position(play.site.news())).sequence == 2


async def test_what_is_remembered_of_a_peer_is_bounded(play):
    for number in range(10 * REMEMBERED):
        play.ask(PUT, f"{PLAN}/news", b"hello", message_id=number)
    assert len(play.messages.peers[ANN].recent) <= 2 * REMEMBERED
    play.said()
    play.ask(PUT, f"{PLAN}/news", b"hello", message_id=10 * REMEMBERED - 1)
    assert (await play.site.channels.position(play.site.news())).sequence == 10 * REMEMBERED


async def test_what_is_remembered_of_all_peers_is_bounded(play, monkeypatch):
    monkeypatch.setattr(datagrams, "REMEMBERED_IN_ALL", 400)
    for number in range(3000):
        play.ask(PUT, f"{PLAN}/news", b"x", message_id=number, address=("10.0.0.1", number % 50))
        kept = sum(len(peer.recent) for peer in play.messages.peers.values())
        assert kept == play.messages.kept <= 401
    play.said()
    play.ask(PUT, f"{PLAN}/news", b"x", message_id=2999, address=("10.0.0.1", 2999 % 50))
    assert (await play.site.channels.position(play.site.news())).sequence == 3000


async def test_peers_are_bounded_and_those_that_showed_themselves_stay(play):
    play.trust()
    for number in range(1000):
        play.ask(PUT, f"{PLAN}/news", b"x", address=("10.0.0.1", number))
    assert len(play.messages.peers) <= 100
    assert ANN in play.messages.peers
    play.now += 2 * EXCHANGE_LIFETIME
    play.messages.forget_idle(play.now)
    assert not play.messages.peers


async def test_requests_that_wait_are_bounded_per_peer(play):
    for number in range(70):
        play.ask(POST, f"{PLAN}/late", b"x", message_id=number)
    await settle(play)
    assert [code for _, code, _ in play.said()] == ["4.29"] * 6
    play.site.responder.gate.set()
    await settle(play)
    assert play.messages.peers[ANN].open == 0
    assert not play.messages.open


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ("40000007", [("RST", "0.00", 7)]),  # a ping
        ("50000007", []),
        ("60000007", []),
        ("70000007", []),
        ("40450007", [("RST", "0.00", 7)]),  # a response to nothing
        ("50450007", []),
        ("60450007", []),
        ("49010007" + "00" * 9, [("RST", "0.00", 7)]),  # a token of 9 bytes
        ("59010007" + "00" * 9, []),
        ("40010007ff", [("RST", "0.00", 7)]),
        ("50010007ff", []),
        ("40010007f0", [("RST", "0.00", 7)]),
        ("40200007", [("RST", "0.00", 7)]),  # class 1
        ("80010007", []),  # version 2
        ("4001", []),
        ("", []),
        ("40080007", [("ACK", "4.05", 7)]),  # no method has this code
        ("40010007d2ff6162", [("ACK", "4.04", 7)]),  # an elective option nobody knows
        ("40010007e1010200", [("ACK", "4.02", 7)]),  # a critical one
        ("50010007e1010200", []),
    ],
)
async def test_what_is_no_request_is_reset_or_ignored(play, data, answer):
    play.hear(bytes.fromhex(data))
    assert play.said() == answer


async def test_a_storm_of_resets_and_acknowledgements_changes_nothing(play):
    play.ask(PUT, f"{PLAN}/news", b"x", message_id=1)
    play.said()
    for number in range(1000):
        play.hear(empty(RST, number))
        play.hear(empty(ACK, number), BOB)
    assert play.said() == []
    play.ask(PUT, f"{PLAN}/news", b"x", message_id=2)
    assert play.said() == [("ACK", "2.04", 2)]


async def test_an_observer_that_resets_a_notification_is_forgotten(play):
    play.trust()
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    await settle(play)
    assert play.said() == [("ACK", "2.05", 1)]
    play.publish(b"one", qos=0)
    ((kind, code, message_id),) = play.said()
    assert (kind, code) == ("NON", "2.05")
    play.hear(empty(RST, message_id))
    play.publish(b"two", qos=0)
    assert play.said() == []
    assert not play.site.listener.service.events.observing


async def test_a_confirmable_notification_that_is_never_acknowledged_ends_the_observation(play):
    play.trust()
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    await settle(play)
    play.said()
    play.publish(b"one")
    play.publish(b"two")
    assert [kind for kind, *_ in play.said()] == ["CON"], "the second waits for the first"
    for _ in range(40):
        play.later(2)
    assert [kind for kind, *_ in play.said()] == ["CON"] * MAX_RETRANSMIT
    assert not play.site.listener.service.events.observing


async def test_an_acknowledged_notification_lets_the_next_one_go(play):
    play.trust()
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    await settle(play)
    play.said()
    for payload in (b"one", b"two", b"three"):
        play.publish(payload)
    seen = []
    while play.sent:
        message = decode(play.sent[0][0])
        seen.append(message.payload)
        play.said()
        play.hear(empty(ACK, message.message_id))
    assert seen == [b"one", b"two", b"three"]


async def test_an_observer_is_asked_now_and_then_whether_it_is_there(play):
    play.trust()
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    await settle(play)
    play.said()
    for _ in range(20):
        play.publish(b"x", qos=0)
    assert [kind for kind, *_ in play.said()] == ["NON"] * 15 + ["CON"]


async def test_who_did_not_show_where_it_is_may_not_observe(play):
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""))
    data, _ = play.sent[0]
    answer = decode(data)
    assert (code_text(answer.code), answer.payload) == ("4.01", b"")
    play.said()
    echo = answer.value(ECHO)
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""), (ECHO, echo), message_id=2, address=BOB)
    assert play.said() == [("ACK", "4.01", 2)], "it was made for another address"
    play.ask(GET, f"{PLAN}/news", b"", (OBSERVE, b""), (ECHO, echo), message_id=3)
    await settle(play)
    assert play.said() == [("ACK", "2.05", 3)]
