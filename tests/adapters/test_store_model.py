"""The change log against a list: any sequence of appends, restarts, snapshots and followers."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from adapters.store import open_store
from gateway.ports import StoreConflict, StorePruned

BODIES = st.lists(st.binary(max_size=40), max_size=4)
OFFSETS = st.sampled_from([0, 0, 0, 0, -1, 1, -5])
KEEP = 5


class StoreMachine(RuleBasedStateMachine):
    """``log`` is what must be in the store; ``snapshots`` what was saved, in that order."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "changes.db"
        self.log = []
        self.snapshots = []
        self.open()

    def open(self):
        self.store = self.runner.run(open_store(self.path, keep_entries=KEEP))
        assert self.store.findings == ()

    @rule(bodies=BODIES, offset=OFFSETS)
    def append(self, bodies, offset):
        head = len(self.log)
        if offset:
            with pytest.raises(StoreConflict) as conflict:
                self.runner.run(self.store.append(head + offset, bodies))
            assert (conflict.value.expected, conflict.value.head) == (head + offset, head)
        else:
            self.log += bodies
            assert self.runner.run(self.store.append(head, bodies)) == len(self.log)

    @rule(appends=st.lists(st.tuples(BODIES, OFFSETS), max_size=6))
    def append_all_at_once(self, appends):
        """Appends in flight are judged in the order of the calls."""

        async def run():
            head, tasks = len(self.log), []
            for bodies, offset in appends:
                tasks.append(self.store.append(head + offset, bodies))
                head += len(bodies) if offset == 0 else 0
            return await asyncio.gather(*tasks, return_exceptions=True)

        results = self.runner.run(run())
        for (bodies, offset), result in zip(appends, results, strict=True):
            if offset == 0:
                self.log += bodies
                assert result == len(self.log)
            else:
                assert isinstance(result, StoreConflict)

    @rule(data=st.data(), records=st.lists(st.binary(max_size=20), max_size=5))
    def save_snapshot(self, data, records):
        last = self.snapshots[-1][0] if self.snapshots else 0
        seq = data.draw(st.integers(last, len(self.log)))
        self.runner.run(self.store.save_snapshot(seq, records))
        self.snapshots.append((seq, records))

    @rule()
    def restart(self):
        self.runner.run(self.store.close())
        self.open()

    @rule(data=st.data())
    def replay(self, data):
        after = data.draw(st.integers(0, len(self.log)))

        async def run():
            seq = after
            follower = self.store.follow(after)
            while seq < len(self.log):
                for entry in await anext(follower):
                    assert (entry.seq, entry.body) == (seq + 1, self.log[seq])
                    seq += 1
            await follower.aclose()

        try:
            self.runner.run(run())
        except StorePruned:
            older = self.snapshots[-2][0]
            assert after < older
            assert after < len(self.log) - KEEP

    @invariant()
    def state_is_whole(self):
        assert self.runner.run(self.store.head()) == len(self.log)
        found = self.runner.run(self.store.snapshot())
        if found is None:
            assert not self.snapshots
        else:
            assert (found.seq, list(found.records)) == self.snapshots[-1]

    def teardown(self):
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(max_examples=60, stateful_step_count=25)
