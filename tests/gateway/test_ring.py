"""The ring of a channel in memory, against a plain list."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.message import Event, EventId
from gateway.ring import RING_COUNT, Account, Ring
from registry.model import Retain
from registry.names import Name

NAME = Name("s/w/news")
RETAINS = st.builds(
    Retain,
    count=st.integers(0, 6),
    bytes=st.integers(0, 12),
    age=st.integers(0, 3),
)


def event(sequence, size, now):
    return Event(NAME, EventId("i", sequence), now, "a:b", "", b"x" * size)


def kept(events, retain, now):
    """What must be there: the newest, and before it as much as the limits leave room for."""
    events = events[-(retain.count or RING_COUNT) :]
    while len(events) > 1 and (
        (retain.bytes and sum(len(e.payload) for e in events) > retain.bytes)
        or (retain.age and events[0].time < now - retain.age * 1000)
    ):
        events = events[1:]
    return events


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 7)),
        st.tuples(st.just("wait"), st.integers(1, 2500)),
        st.tuples(st.just("resize"), RETAINS),
        st.tuples(st.just("read"), st.tuples(st.integers(0, 20), st.integers(0, 5))),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(RETAINS, STEPS, st.booleans())
@example(Retain(count=2, bytes=3), [("add", 3)] * 3, False)  # a place that is empty already
def test_a_ring_keeps_what_it_should(retain, steps, shared):
    account = Account() if shared else None
    ring, model, now, last = Ring(retain, account), [], 10_000, 0
    for what, how in steps:
        if what == "add":
            last += 1
            new = event(last, how, now)
            ring.add(new, now)
            model.append(new)
        elif what == "wait":
            now += how
        elif what == "resize":
            model = kept(model, retain, now)
            retain = how
            ring.resize(retain, now)
        else:
            after, limit = how
            model = kept(model, retain, now)
            expected = [e for e in model if e.id.sequence > after][:limit]
            assert ring.read(after, limit, now) == expected
        model = kept(model, retain, now)
        assert ring.read(0, 100, now) == model
        if account is not None:
            assert account.bytes == sum(len(e.payload) for e in model)
    ring.forget()
    assert account is None or account.bytes == 0
    assert ring.read(0, 100, now) == []
