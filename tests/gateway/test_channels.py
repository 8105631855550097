"""Event channels: order, resume, gaps, overflow, groups; durable ones on the real event log."""

import asyncio
from itertools import count

import pytest

from adapters.store.eventlog import open_event_log
from gateway.channels import Channels
from gateway.message import EventId, Refusal, Status
from gateway.ports import StoreError
from gateway.subscriptions import OLDEST, Bounds, Gap, parse_event_id
from gateway.view import Meter, Route
from policy.model import Principal
from registry.model import EventChannel, Kind, Retain
from registry.names import Name

NAME = Name("localhost/band/calories")
WHO = Principal("token:ann", "user", credential="t1")


def route(*, one_of_group=False, name=NAME, **settings):
    made = Route(name, Kind.CHANNEL, "token:owner", Meter("band"))
    made.channel = EventChannel(**settings)
    made.one_of_group = one_of_group
    return made


class Listener:
    """A subscriber that writes down what it hears; ``room`` events, then it is not writable."""

    def __init__(self, room=None):
        self.heard = []
        self.refusal = None
        self.room = room
        self.subscription = None

    def deliver(self, event):
        self.heard.append(event)
        if self.room is not None:
            self.room -= 1
            if self.room <= 0:
                self.subscription.pause()

    def gap(self, gap):
        self.heard.append(gap)

    def ended(self, refusal):
        self.refusal = refusal

    def listen(self, channels, at, **options):
        options.setdefault("principal", WHO)
        principal = options.pop("principal")
        self.subscription = channels.subscribe(at, principal, self, **options)
        self.subscription.resume()
        return self

    @property
    def payloads(self):
        return ["gap" if isinstance(one, Gap) else one.payload.decode() for one in self.heard]

    @property
    def sequences(self):
        return [one.id.sequence for one in self.heard if not isinstance(one, Gap)]

    @property
    def gaps(self):
        return [one for one in self.heard if isinstance(one, Gap)]


class Clock:
    def __init__(self):
        self.ms = 1_000_000

    def __call__(self):
        return self.ms


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def log(tmp_path):
    opened = await open_event_log(tmp_path / "events.db")
    yield opened
    await opened.close()


@pytest.fixture
async def channels(log, clock):
    numbers = count(1)
    made = Channels(
        log,
        time_ms=clock,
        incarnation=lambda: f"ring{next(numbers)}",
        bounds=Bounds(events=4, size=1000),
        patience=0.05,
    )
    yield made
    await made.close()


async def publish(channels, at, *texts):
    return [await channels.publish(at, "token:band", "text/plain", text.encode()) for text in texts]


async def until(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.002)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize("durable", [False, True])
class TestBothKinds:
    async def test_subscribers_get_events_in_order(self, channels, durable):
        at = route(durable=durable)
        one, two = Listener().listen(channels, at), Listener().listen(channels, at)
        ids = await publish(channels, at, "a", "b", "c")
        assert one.payloads == two.payloads == ["a", "b", "c"]
        assert [str(event.id) for event in one.heard] == [str(i) for i in ids]
        assert one.sequences == [1, 2, 3]
        event = one.heard[0]
        assert event.channel == NAME
        assert (event.source, event.content_type, event.time) == (
            "token:band",
            "text/plain",
            1_000_000,
        )
        assert one.heard[0] is two.heard[0], "one event object is shared by all"

    async def test_an_event_has_its_limit_whoever_publishes_it(self, log, clock, durable):
        channels = Channels(log, time_ms=clock, incarnation=lambda: "r", limit=4)
        at = route(durable=durable)
        listener = Listener().listen(channels, at)
        with pytest.raises(Refusal, match="at most 4 bytes") as refused:
            await publish(channels, at, "abcde")
        assert refused.value.status is Status.TOO_LARGE
        await publish(channels, at, "abcd")
        assert listener.payloads == ["abcd"]
        await channels.close()

    async def test_last_value_and_history(self, channels, durable):
        at = route(durable=durable)
        assert await channels.last(at) is None
        assert await channels.history(at) == []
        ids = await publish(channels, at, "a", "b", "c")
        assert (await channels.last(at)).payload == b"c"
        assert [e.payload for e in await channels.history(at, limit=2)] == [b"a", b"b"]
        assert [e.payload for e in await channels.history(at, str(ids[0]))] == [b"b", b"c"]
        assert [e.payload for e in await channels.history(at, "other-1")] == [b"a", b"b", b"c"]
        assert await channels.position(at) == ids[-1]

    async def test_resume_replays_what_was_missed_then_goes_on_live(self, channels, durable):
        at = route(durable=durable)
        ids = await publish(channels, at, "a", "b", "c")
        late = Listener().listen(channels, at, after=str(ids[0]))
        await until(lambda: len(late.heard) == 2)
        await publish(channels, at, "d")
        await until(lambda: len(late.heard) == 3)
        assert late.payloads == ["b", "c", "d"]

    async def test_from_the_oldest(self, channels, durable):
        at = route(durable=durable)
        before = Listener().listen(channels, at, after=OLDEST)
        await publish(channels, at, "a", "b")
        after = Listener().listen(channels, at, after=OLDEST)
        await until(lambda: len(after.heard) == 2)
        await until(lambda: len(before.heard) == 2)
        assert after.payloads == before.payloads == ["a", "b"]

    @pytest.mark.parametrize(
        "after", ["other-1", "nonsense", "-", "x-99999999999999999999", "🙈-1"]
    )
    async def test_a_foreign_id_gives_a_gap_and_everything_retained(self, channels, durable, after):
        at = route(durable=durable)
        ids = await publish(channels, at, "a", "b")
        late = Listener().listen(channels, at, after=after)
        await until(lambda: len(late.heard) == 3)
        assert late.payloads == ["gap", "a", "b"]
        gap = late.gaps[0]
        assert gap == Gap("foreign", after, EventId(ids[0].incarnation, 0), -1)

    async def test_an_id_of_the_future_is_foreign(self, channels, durable):
        at = route(durable=durable)
        ids = await publish(channels, at, "a")
        late = Listener().listen(channels, at, after=f"{ids[0].incarnation}-7")
        await until(lambda: len(late.heard) == 2)
        assert late.gaps[0].reason == "foreign"

    async def test_a_foreign_id_on_an_empty_channel(self, channels, durable):
        at = route(durable=durable)
        late = Listener().listen(channels, at, after="other-3")
        await until(lambda: late.heard)
        assert late.gaps[0].until.sequence == 0
        await publish(channels, at, "a")
        assert late.payloads == ["gap", "a"]

    async def test_an_evicted_id_gives_a_gap_that_can_be_resumed_after(self, channels, durable):
        at = route(durable=durable, retain=Retain(count=2))
        ids = await publish(channels, at, *"abcdefgh")
        late = Listener().listen(channels, at, after=str(ids[0]))
        await until(lambda: late.payloads == ["gap", "g", "h"])
        gap = late.gaps[0]
        assert gap == Gap("evicted", str(ids[0]), ids[5], 5)
        again = Listener().listen(channels, at, after=str(gap.until))
        await until(lambda: again.payloads == ["g", "h"])

    async def test_age_limits_what_is_replayed_but_the_last_value_stays(
        self, channels, clock, durable
    ):
        at = route(durable=durable, retain=Retain(age=60))
        ids = await publish(channels, at, "a", "b")
        clock.ms += 61_000
        assert [e.payload for e in await channels.history(at)] == [b"b"]
        await publish(channels, at, "c")
        late = Listener().listen(channels, at, after=f"{ids[0].incarnation}-0")
        await until(lambda: late.payloads == ["gap", "c"])
        clock.ms += 61_000
        assert (await channels.last(at)).payload == b"c"

    async def test_a_slow_replay_is_read_in_portions_and_loses_nothing(self, channels, durable):
        at = route(durable=durable)
        texts = [str(number) for number in range(200)]
        ids = await publish(channels, at, *texts[:150])
        slow = Listener(room=1).listen(channels, at, after=f"{ids[0].incarnation}-0")
        published = 150
        while len(slow.heard) < 180:
            taken = len(slow.heard)
            if taken in (10, 63, 64, 100, 150):
                await publish(channels, at, *texts[published : published + 10])
                published += 10
            slow.room = 1
            slow.subscription.resume()
            await until(lambda: len(slow.heard) > taken)  # noqa: B023
        slow.room = None
        slow.subscription.resume()
        await until(lambda: len(slow.heard) == 200)
        assert slow.payloads == texts

    async def test_resumers_and_publishers_at_once(self, channels, durable):
        """At the seam of replay and live events nothing is lost, doubled or out of order."""
        at = route(durable=durable)
        listeners = []

        async def publisher(mark):
            for number in range(40):
                await publish(channels, at, f"{mark}{number}")
                if number % 4 == 0:
                    await asyncio.sleep(0)
                if number % 8 == mark == 1:
                    listeners.append(Listener().listen(channels, at, after=OLDEST))

        await asyncio.gather(*map(publisher, range(5)))
        listeners.append(Listener().listen(channels, at, after=OLDEST))
        await until(lambda: all(len(one.heard) == 200 for one in listeners))
        for one in listeners:
            assert one.sequences == list(range(1, 201))
            assert not one.gaps

    async def test_drop_oldest_tells_of_the_loss(self, channels, durable):
        at = route(durable=durable)
        slow = Listener(room=1).listen(channels, at)
        ids = await publish(channels, at, *"abcdefg")
        assert slow.payloads == ["a"]
        slow.room = None
        slow.subscription.resume()
        assert slow.payloads == ["a", "gap", "d", "e", "f", "g"]
        assert slow.gaps == [Gap("overflow", str(ids[0]), ids[2], 2)]
        await publish(channels, at, "h")
        assert slow.payloads[-1] == "h"

    async def test_bytes_bound_the_queue_too_but_one_event_always_fits(self, channels, durable):
        at = route(durable=durable)
        slow = Listener(room=1).listen(channels, at)
        await publish(channels, at, "a", "x" * 600, "y" * 600, "z" * 5000)
        slow.room = None
        slow.subscription.resume()
        assert slow.payloads == ["a", "gap", "z" * 5000]
        assert slow.gaps[0].lost == 2

    async def test_disconnect(self, channels, durable):
        at = route(durable=durable, overflow="disconnect")
        slow, quick = Listener(room=1).listen(channels, at), Listener().listen(channels, at)
        await publish(channels, at, *"abcdefg")
        assert slow.refusal.status is Status.THROTTLED
        assert slow.payloads == ["a"]
        assert quick.payloads == list("abcdefg")

    async def test_block_holds_the_acknowledgement_until_there_is_room(self, channels, durable):
        at = route(durable=durable, overflow="block")
        slow = Listener(room=1).listen(channels, at)
        await publish(channels, at, *"abcde")
        ack = channels.append(at, "token:band", "", b"f")
        await asyncio.sleep(0.02)
        assert not ack.done()
        slow.room = 2
        slow.subscription.resume()
        assert (await ack).sequence == 6
        slow.room = None
        slow.subscription.resume()
        assert slow.payloads == list("abcdef")

    async def test_block_has_an_end(self, channels, durable):
        at = route(durable=durable, overflow="block")
        slow = Listener(room=1).listen(channels, at)
        await publish(channels, at, *"abcde")
        await asyncio.wait_for(publish(channels, at, "f"), 2)
        slow.room = None
        slow.subscription.resume()
        assert slow.payloads == ["a", "gap", "c", "d", "e", "f"]

    async def test_block_does_not_wait_for_somebody_who_left(self, channels, durable):
        at = route(durable=durable, overflow="block")
        slow = Listener(room=1).listen(channels, at)
        await publish(channels, at, *"abcde")
        ack = asyncio.ensure_future(publish(channels, at, "f"))
        await asyncio.sleep(0.01)
        slow.subscription.close()
        assert len(await ack) == 1

    async def test_even_block_bounds_the_queue(self, channels, durable):
        at = route(durable=durable, overflow="block")
        slow = Listener(room=1).listen(channels, at)
        acks = [channels.append(at, "", "", b"%d" % n) for n in range(30)]
        await asyncio.gather(*[ack for ack in acks if isinstance(ack, asyncio.Future)])
        slow.room = None
        slow.subscription.resume()
        assert len(slow.heard) <= 2 + 2 * 4
        assert slow.payloads[-1] == "29"

    async def test_a_subscriber_that_fails_harms_nobody_else(self, channels, durable, caplog):
        at = route(durable=durable)
        broken, well = Listener().listen(channels, at), Listener().listen(channels, at)
        broken.deliver = lambda event: 1 / 0
        await publish(channels, at, "a", "b")
        assert well.payloads == ["a", "b"]
        assert broken.refusal.status is Status.INTERNAL
        assert "ZeroDivisionError" in caplog.text

    async def test_closed_means_closed(self, channels, durable):
        at = route(durable=durable)
        gone = Listener().listen(channels, at)
        gone.subscription.close()
        gone.subscription.close()
        gone.subscription.resume()
        await publish(channels, at, "a")
        assert gone.heard == []
        assert gone.refusal is None

    async def test_closing_while_catching_up(self, channels, durable):
        at = route(durable=durable)
        await publish(channels, at, *"abc")
        gone = Listener(room=1).listen(channels, at, after=OLDEST)
        await until(lambda: gone.heard)
        gone.subscription.close()
        await asyncio.sleep(0.01)
        assert gone.payloads == ["a"]

    async def test_redecide_ends_what_is_no_longer_allowed(self, channels, durable):
        at = route(durable=durable)
        bob = Principal("token:bob", "user")
        listeners = {
            "ann": Listener().listen(channels, at),
            "bob": Listener().listen(channels, at, principal=bob),
            "group": Listener().listen(channels, at, group="g"),
            "site": Listener().listen(channels, at, principal=None),
        }
        asked = []

        def check(principal, name, group):
            asked.append((principal.id, name, group))
            if principal is bob or group:
                return Refusal(Status.DENIED, "not any more")
            return None

        channels.redecide(check)
        assert sorted(asked) == [
            ("token:ann", NAME, ""),
            ("token:ann", NAME, "g"),
            ("token:bob", NAME, ""),
        ]
        await publish(channels, at, "a")
        assert {who: one.payloads for who, one in listeners.items()} == {
            "ann": ["a"],
            "bob": [],
            "group": [],
            "site": ["a"],
        }
        assert listeners["bob"].refusal.detail == "not any more"

    async def test_revocation_ends_subscriptions(self, channels, durable):
        at = route(durable=durable)
        mine = Listener().listen(channels, at)
        other = Listener().listen(channels, at, principal=Principal("token:ann", "user"))
        channels.end_of({"t1"})
        assert mine.refusal.status is Status.UNAUTHENTICATED
        assert other.refusal is None

    async def test_a_destroyed_channel_begins_anew(self, channels, durable):
        at = route(durable=durable)
        listener = Listener().listen(channels, at)
        before = await publish(channels, at, "a")
        channels.forget(NAME)
        assert listener.refusal.status is Status.NOT_FOUND
        again = Listener().listen(channels, at, after=str(before[0]))
        after = await publish(channels, at, "b")
        assert after[0].sequence == 1
        assert after[0].incarnation != before[0].incarnation
        await until(lambda: again.payloads == ["gap", "b"])

    async def test_forgetting_what_was_never_used(self, channels, durable):
        channels.forget(NAME)
        channels.forget(NAME)
        assert (await publish(channels, route(durable=durable), "a"))[0].sequence == 1


class TestGroups:
    async def test_one_member_gets_each_event(self, channels):
        at = route()
        members = [Listener().listen(channels, at, group="g") for _ in range(3)]
        other = Listener().listen(channels, at, group="h")
        plain = Listener().listen(channels, at)
        await publish(channels, at, *"abcdef")
        assert [one.payloads for one in members] == [["a", "d"], ["b", "e"], ["c", "f"]]
        assert other.payloads == plain.payloads == list("abcdef")

    async def test_the_least_busy_member_comes_first(self, channels):
        at = route()
        slow = Listener(room=1).listen(channels, at, group="g")
        quick = Listener().listen(channels, at, group="g")
        await publish(channels, at, *"abcde")
        assert slow.payloads == ["a"]
        assert quick.payloads == ["b", "c", "d", "e"]

    async def test_what_a_member_did_not_take_goes_to_the_others(self, channels):
        at = route()
        slow = Listener(room=1).listen(channels, at, group="g")
        await publish(channels, at, *"abc")
        quick = Listener().listen(channels, at, group="g")
        slow.subscription.close()
        assert slow.payloads == ["a"]
        assert quick.payloads == ["b", "c"]

    async def test_a_group_without_members_is_gone(self, channels):
        at = route()
        only = Listener(room=1).listen(channels, at, group="g")
        await publish(channels, at, *"abc")
        only.subscription.close()
        new = Listener().listen(channels, at, group="g")
        await publish(channels, at, "d")
        assert new.payloads == ["d"]

    async def test_a_group_does_not_resume(self, channels):
        at = route()
        await publish(channels, at, *"abc")
        member = Listener().listen(channels, at, group="g", after=OLDEST)
        await publish(channels, at, "d")
        await asyncio.sleep(0)
        assert member.payloads == ["d"]

    async def test_a_policy_makes_all_subscribers_one_group(self, channels):
        """S3 III-B: events are dispatched among consumers instead of duplicated."""
        at = route(one_of_group=True)
        one, two = Listener().listen(channels, at), Listener().listen(channels, at)
        named = Listener().listen(channels, at, group="g")
        await publish(channels, at, *"abcd")
        assert one.payloads == ["a", "c"]
        assert two.payloads == ["b", "d"]
        assert named.payloads == list("abcd")
        await publish(channels, route(), "e")
        assert one.payloads[-1] == two.payloads[-1] == "e", "the policy is gone"


class TestDurable:
    async def test_a_restart_goes_on_where_it_was(self, tmp_path, clock):
        at, ring = route(durable=True), route(name=Name("localhost/band/ring"))
        ids = {}
        for life in range(3):
            log = await open_event_log(tmp_path / "kept.db")
            channels = Channels(log, time_ms=clock, incarnation=lambda: f"life{life}")  # noqa: B023
            if life:
                assert (await channels.last(at)).payload == f"{life - 1}".encode()
                late = Listener().listen(channels, at, after=str(ids[life - 1][0]))
                lost = Listener().listen(channels, ring, after=str(ids[life - 1][1]))
            (durable_id,) = await publish(channels, at, str(life))
            (ring_id,) = await publish(channels, ring, str(life))
            ids[life] = (durable_id, ring_id)
            if life:
                await until(lambda: late.payloads == [str(life)])  # noqa: B023
                assert lost.gaps[0].reason == "foreign"
            await channels.close()
            await log.close()
        assert len({one.incarnation for one, _ in ids.values()}) == 1
        assert [one.sequence for one, _ in ids.values()] == [1, 2, 3]
        assert len({one.incarnation for _, one in ids.values()}) == 3

    async def test_concurrent_publishers_are_acknowledged_in_order(self, channels):
        at = route(durable=True)
        listener = Listener().listen(channels, at)
        acknowledged = []
        acks = [channels.append(at, "", "", b"%d" % number) for number in range(100)]
        for ack in acks:
            ack.add_done_callback(lambda done: acknowledged.append(done.result().sequence))
        await asyncio.gather(*acks)
        await asyncio.sleep(0)
        assert acknowledged == list(range(1, 101))
        assert listener.payloads == [str(number) for number in range(100)]

    async def test_publishers_before_during_and_after_opening_keep_their_order(self, channels):
        at = route(durable=True)
        listener = Listener().listen(channels, at, after=OLDEST)
        acks = []
        for number in range(50):
            acks.append(channels.append(at, "", "", b"%d" % number))
            await asyncio.sleep(0)
        await asyncio.gather(*acks)
        assert [ack.result().sequence for ack in acks] == list(range(1, 51))
        await until(lambda: listener.payloads == [str(number) for number in range(50)])

    async def test_a_publisher_that_gives_up_changes_nothing(self, channels):
        at = route(durable=True)
        listener = Listener().listen(channels, at)
        acks = [channels.append(at, "", "", b"%d" % number) for number in range(3)]
        acks[1].cancel()
        await acks[2]
        assert listener.payloads == ["0", "1", "2"]

    async def test_changing_where_events_are_kept_ends_subscriptions(self, channels):
        listener = Listener().listen(channels, route())
        await publish(channels, route(durable=True), "a")
        assert listener.refusal.status is Status.UNAVAILABLE


class BrokenLog:
    """An event log whose disk fails when told to, and answers in the order it is told to."""

    def __init__(self, log):
        self._log = log
        self.fails = {}
        self.answers = None

    def __getattr__(self, method):
        async def work(*args):
            if method in self.fails:
                raise self.fails[method]
            return await getattr(self._log, method)(*args)

        return work


class TestFaults:
    @pytest.fixture
    def broken(self, log):
        return BrokenLog(log)

    @pytest.fixture
    async def channels(self, broken, clock):
        made = Channels(broken, time_ms=clock, incarnation=lambda: "ring")
        yield made
        broken.fails.clear()
        await made.close()

    @pytest.mark.parametrize("method", ["open", "append"])
    async def test_an_event_that_is_not_stored_is_refused_and_not_heard(
        self, channels, broken, method
    ):
        at = route(durable=True)
        listener = Listener().listen(channels, at)
        broken.fails[method] = StoreError("disk full")
        with pytest.raises(Refusal, match="disk full") as refused:
            await publish(channels, at, "a")
        assert refused.value.status is Status.UNAVAILABLE
        broken.fails.clear()
        assert (await publish(channels, at, "b"))[0].sequence == 1
        assert listener.payloads == ["b"]

    async def test_an_unexpected_fault_does_not_hold_up_the_others(self, channels, broken):
        at = route(durable=True)
        await publish(channels, at, "a")
        broken.fails["append"] = ValueError("a bug")
        with pytest.raises(Refusal) as refused:
            await publish(channels, at, "b")
        assert refused.value.status is Status.INTERNAL
        broken.fails.clear()
        assert (await publish(channels, at, "c"))[0].sequence == 2

    @pytest.mark.parametrize("method", ["open", "read"])
    async def test_a_log_that_cannot_be_read_ends_the_resumption(self, channels, broken, method):
        at = route(durable=True)
        if method == "read":
            await publish(channels, at, "a", "b")
        broken.fails[method] = StoreError("disk gone")
        listener = Listener().listen(channels, at, after=OLDEST)
        await until(lambda: listener.refusal)
        assert "disk gone" in listener.refusal.detail
        with pytest.raises(Refusal, match="disk gone"):
            await channels.history(at)

    async def test_a_last_value_that_cannot_be_read(self, channels, broken):
        broken.fails["open"] = StoreError("disk gone")
        with pytest.raises(Refusal, match="disk gone"):
            await channels.last(route(durable=True))
        with pytest.raises(Refusal, match="disk gone"):
            await channels.position(route(durable=True))

    async def test_a_log_that_cannot_be_deleted_is_reported(self, channels, broken, caplog):
        broken.fails["drop"] = StoreError("disk gone")
        channels.forget(NAME)
        await until(lambda: "could not be deleted" in caplog.text)

    async def test_damaged_events_are_a_gap(self, channels, broken, log):
        at = route(durable=True)
        ids = await publish(channels, at, *"abcde")
        everything = await log.read(NAME, 0, 10)

        async def read(channel, after, limit):
            kept = [one for one in everything if one.seq not in (2, 5)]
            return [one for one in kept if one.seq > after][:limit]

        broken.read = read
        late = Listener().listen(channels, at, after=f"{ids[0].incarnation}-0")
        await until(lambda: late.payloads == ["a", "gap", "c", "d", "gap"])
        assert [gap.until.sequence for gap in late.gaps] == [2, 5]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc-1", EventId("abc", 1)),
        ("0f-000", EventId("0f", 0)),
        ("", None),
        ("-", None),
        ("-1", None),
        ("abc", None),
        ("abc-", None),
        ("abc-x", None),
        ("a-b-1", None),
        ("abc--1", None),
        ("abc-²", None),
        ("abc-1\n", None),
        ("é-1", None),
        ("a" * 65 + "-1", None),
        ("a-" + "1" * 19, None),
    ],
)
def test_event_ids(text, expected):
    assert parse_event_id(text) == expected
