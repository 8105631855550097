"""Durable sessions against dicts: any sequence of writes, restarts, crashes and full disks."""

import asyncio
import copy
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters.store import open_event_log, sessions
from gateway.message import Mark
from gateway.ports import Keep, StoredEvent, StoreError
from gateway.session_port import StoredMessage
from tests.adapters.test_sessionstore import fill_disk, free_disk

KEYS = st.sampled_from(["a", "b", "user:1/☃", "d\udc80"])
PACKET_IDS = st.sampled_from([1, 2, 3, 4, 256, 65_535])
CHANNELS = st.sampled_from(["c", "d/ü"])
WRITES = st.one_of(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=20)),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(
        st.just("publish"),
        st.lists(st.tuples(KEYS, PACKET_IDS, st.integers(1, 2)), max_size=5),
        st.sampled_from([b"", b"x", bytes(5_000)]),
    ),
    st.tuples(st.sampled_from(["release", "acknowledge", "mark", "unmark"]), KEYS, PACKET_IDS),
    st.tuples(st.just("position"), KEYS, CHANNELS, st.text(max_size=5)),
    st.tuples(st.just("forget_position"), KEYS, CHANNELS),
)
BATCH = st.lists(WRITES, max_size=12)


class Model(dict):
    """Each session's record, messages by packet id in their order, marks and positions."""

    def put(self, key, record):
        self.setdefault(key, [b"", {}, set(), {}])[0] = record

    def enqueue(self, key, packet_id, qos, body):
        if key in self:
            self[key][1][packet_id] = StoredMessage(packet_id, qos, body, False)

    def release(self, key, packet_id):
        if key in self:
            self[key][1].pop(packet_id, None)
            self[key][1][packet_id] = StoredMessage(packet_id, 2, b"", True)

    def acknowledge(self, key, packet_id):
        if key in self:
            self[key][1].pop(packet_id, None)

    def mark(self, key, packet_id):
        if key in self:
            self[key][2].add(packet_id)

    def unmark(self, key, packet_id):
        if key in self:
            self[key][2].discard(packet_id)

    def position(self, key, channel, event):
        if key in self:
            self[key][3][channel] = event

    def forget_position(self, key, channel):
        if key in self:
            self[key][3].pop(channel, None)

    def listed(self):
        return {
            key: (record, list(messages.values()), sorted(marks), sorted(positions.items()))
            for key, (record, messages, marks, positions) in self.items()
        }


class SessionMachine(RuleBasedStateMachine):
    """``possible`` is what may be on disk: the model after each callback since it was synced."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "events.db"
        self.model = Model()
        self.full = False
        self.appended = 0
        self.runner.run(self.open())
        self.synced()

    async def open(self):
        self.log = await open_event_log(self.path)
        self.store = self.log.sessions
        await self.log.open("c")

    def synced(self):
        self.possible = [copy.deepcopy(self.model)]

    def write(self, writes):
        """Do what one callback does."""
        for name, *values in writes:
            if name == "publish":
                self.publish(*values)
            elif name in {"mark", "unmark"}:
                getattr(self.store, name)(Mark(*values))
                getattr(self.model, name)(*values)
            elif name == "drop":
                self.store.drop(*values)
                self.model.pop(*values, None)
            else:
                getattr(self.store, name)(*values)
                getattr(self.model, name)(*values)
        self.possible.append(copy.deepcopy(self.model))

    def publish(self, receivers, body):
        number = self.store.keep(body)
        for key, packet_id, qos in receivers:
            if key not in self.model or packet_id not in self.model[key][1]:
                self.store.enqueue(key, packet_id, qos, number)
                self.model.enqueue(key, packet_id, qos, body)

    @rule(batches=st.lists(BATCH, max_size=4), wait=st.booleans())
    def write_some(self, batches, wait):
        async def run():
            for batch in batches:
                self.write(batch)
                await asyncio.sleep(0)
            if wait:
                await self.sync()

        self.runner.run(run())

    async def sync(self):
        try:
            await asyncio.shield(self.store.synced())
        except StoreError:
            assert self.full
        else:
            self.synced()

    @rule(key=KEYS, packet_id=PACKET_IDS, batch=BATCH)
    def publish_durably(self, key, packet_id, batch):
        """An event and its mark, after writes of the same callback."""

        async def run():
            self.write(batch)
            known = key in self.model
            event = StoredEvent(0, 1, "", "", b"x")
            try:
                seq = await self.log.append("c", event, Keep(), Mark(key, packet_id))
            except StoreError:
                assert self.full or not known
            else:
                assert known
                self.appended = self.appended + 1
                assert seq == self.appended
                self.model.mark(key, packet_id)
                self.synced()

        self.runner.run(run())

    @rule()
    def fill_the_disk(self):
        self.full = True
        self.runner.run(fill_disk(self.log))

    @rule()
    def free_the_disk(self):
        self.runner.run(free_disk(self.log))
        self.full = False
        self.runner.run(self.sync_again())

    async def sync_again(self):
        self.store._try_again()  # what a timer does
        await self.sync()

    @rule()
    def restart(self):
        async def run():
            await self.sync_again()
            await self.log.close()
            await self.open()
            self.full = False
            self.model = await self.found(self.log)

        self.runner.run(run())
        self.synced()

    @rule(batch=BATCH)
    def crash(self, batch):
        """What a killed process leaves: the files as they are at any moment."""
        image = Path(self.folder.name) / "image"

        async def run():
            self.write(batch)
            await asyncio.sleep(0)
            shutil.rmtree(image, ignore_errors=True)
            image.mkdir()
            for suffix in ("", "-wal", ".lock"):
                shutil.copy(f"{self.path}{suffix}", image)
            log = await open_event_log(image / "events.db")
            await self.found(log)
            await log.close()

        if not self.full:  # a commit may be under way, and files are not copied in one step
            self.runner.run(self.sync_again())
            self.runner.run(run())

    async def found(self, log):
        """Return what is on disk, which must be what the sessions once were."""
        loaded = {one.key: one for one in await log.sessions.load()}
        assert log.findings == ()
        listed = {
            key: (one.record, list(one.messages), list(one.marks), sorted(one.positions))
            for key, one in loaded.items()
        }
        found = [model for model in self.possible if model.listed() == listed]
        assert found, (listed, [model.listed() for model in self.possible])
        return copy.deepcopy(found[-1])

    @invariant()
    def the_disk_has_what_was_synced(self):
        self.runner.run(self.check())

    async def check(self):
        await self.found(self.log)
        unequal = self.log._database.reader.execute(
            "WITH shared AS (SELECT DISTINCT shared FROM queued WHERE shared > 0)"
            " SELECT * FROM (SELECT * FROM shared EXCEPT SELECT id FROM bodies) UNION ALL"
            " SELECT * FROM (SELECT id FROM bodies EXCEPT SELECT * FROM shared)"
        ).fetchall()
        assert unequal == []

    def teardown(self):
        self.runner.run(self.log.close())
        self.runner.close()
        self.folder.cleanup()


@pytest.fixture(autouse=True, scope="module")
def _no_timer():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "_RETRY_SECONDS", 1e6)
        yield


TestSessionModel = SessionMachine.TestCase
TestSessionModel.settings = settings(max_examples=60, stateful_step_count=25)
