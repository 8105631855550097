"""The change pipeline (design 5): plan against the pending tail, append, follow, acknowledge.

The catalog moves only by following the store, so that a replica or a worker process is simply
another follower of the same log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from gateway.message import Refusal, Status
from gateway.ports import Entry, Store, StoreConflict, StoreError
from registry.catalog import Catalog, Draft, Touched
from registry.changes import Batch, Change, decode, encode
from registry.snapshot import dump, load

log = logging.getLogger("hilum.ledger")

Plan = Callable[[Catalog], Sequence[Change]]
"""Reads the newest state and returns the Changes to append; raises Refusal, has no effects."""
Entered = Sequence[tuple[Batch, list[Touched]]]
"""Batches that are in the catalog now, each with what its Changes touched."""

TRIES = 8
DRAFT_LIMIT = 1024
RETRY_SECONDS = 1.0


class Ledger:
    """One site's end of the change log.

    A change is acknowledged only after it is in force here, so what was answered is what
    traffic is decided on.
    """

    def __init__(
        self, store: Store, time_ms: Callable[[], int], snapshot_every: int = 10_000
    ) -> None:
        self._store = store
        self._time_ms = time_ms
        self._snapshot_every = snapshot_every
        self._snapshot_at = 0
        self.catalog = Catalog()
        self.seq = 0
        self._draft: Catalog = Draft(self.catalog)
        self._tail = 0
        self._pending: deque[tuple[int, Sequence[Change]]] = deque()
        self._drafted = 0
        self._settled = 0
        self._moved = asyncio.Event()
        self._broken: Exception | None = None
        self._snapshotting: asyncio.Future[None] | None = None
        self._owed: deque[tuple[str, Plan]] = deque()

    @property
    def owed(self) -> int:
        """How many withdrawals are in force but not yet written."""
        return len(self._owed)

    async def change(self, actor: str, plan: Plan) -> Sequence[Change]:
        """Append what ``plan`` returns; answers when it is durable and in force here.

        Raises Refusal from the plan, or ``unavailable`` when the store cannot write.
        """
        for _ in range(TRIES):
            changes = plan(self._draft)
            if not changes:
                return ()
            seq = self._draft_on(changes)
            body = encode(Batch(self._time_ms(), actor, tuple(changes)))
            try:
                await self._store.append(seq - 1, [body])
            except StoreConflict:
                self._drop_tail()
                await self._reach(await self._store.head())
                continue
            except StoreError as error:
                self._drop_tail()
                detail = f"nothing was changed: the site's store cannot write: {error}"
                raise Refusal(Status.UNAVAILABLE, detail, retry_after=5) from error
            await self._reach(seq)
            return changes
        raise Refusal(Status.CONFLICT, "others keep changing the same state; try again")

    async def withdraw(self, actor: str, plan: Plan) -> bool:
        """Append a withdrawal that is in force already; owe it when the store cannot write.

        Returns whether it is durable. What is owed is written as soon as that works again.
        """
        try:
            await self.change(actor, plan)
        except Refusal as refusal:
            if refusal.status is not Status.UNAVAILABLE:
                raise
            log.warning("a withdrawal is in force but not yet durable: %s", refusal.detail)
            self._owed.append((actor, plan))
            return False
        return True

    def give_up(self, error: Exception) -> None:
        """Fail whoever waits: the log cannot be followed any further."""
        self._broken = error
        self._moved.set()

    async def replay(self, upto: int) -> None:
        """Bring the catalog to entry ``upto`` at least, from the snapshot and the log."""
        snapshot = await self._store.snapshot()
        if snapshot is not None:
            load(self.catalog, snapshot.records)
            self.seq = self._snapshot_at = snapshot.seq
        if self.seq < upto:
            async for entries in self._store.follow(self.seq):
                self._enter(entries)
                if self.seq >= upto:
                    break
                await asyncio.sleep(0)
        self._settled = self.seq
        self._drop_tail()

    async def run(self, applied: Callable[[Entered], Awaitable[None]]) -> None:
        """Follow the log for ever; ``applied`` puts in force what was entered."""
        async for entries in self._store.follow(self.seq):
            await applied(self._enter(entries))
            self._settle()
            if self.seq - self._snapshot_at >= self._snapshot_every:
                self._snapshot()

    async def pay(self) -> None:
        """Write what is owed, for ever."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            while self._owed:
                actor, plan = self._owed[0]
                try:
                    await self.change(actor, plan)
                except Refusal as refusal:
                    if refusal.status is Status.UNAVAILABLE:
                        break
                self._owed.popleft()

    def _enter(self, entries: Sequence[Entry]) -> list[tuple[Batch, list[Touched]]]:
        entered = []
        for entry in entries:
            batch = decode(entry.body)
            entered.append((batch, self._apply(batch)))
            self.seq = entry.seq
        return entered

    def _apply(self, batch: Batch) -> list[Touched]:
        return [self.catalog.apply(change) for change in batch.changes]

    def _draft_on(self, changes: Sequence[Change]) -> int:
        if self._drafted > DRAFT_LIMIT:
            self._redraft()
        for change in changes:
            self._draft.apply(change)
        self._drafted += len(changes)
        self._tail += 1
        self._pending.append((self._tail, changes))
        return self._tail

    def _redraft(self) -> None:
        self._draft = Draft(self.catalog)
        self._drafted = 0
        for _, changes in self._pending:
            for change in changes:
                self._draft.apply(change)

    def _drop_tail(self) -> None:
        """Forget what was not committed: the old state goes on serving."""
        self._pending.clear()
        self._tail = self.seq
        self._redraft()

    def _settle(self) -> None:
        self._settled = self.seq
        while self._pending and self._pending[0][0] <= self.seq:
            self._pending.popleft()
        if not self._pending:
            self._tail = self.seq
            self._redraft()
        self._moved.set()
        self._moved.clear()

    def _snapshot(self) -> None:
        if self._snapshotting is not None and not self._snapshotting.done():
            return
        self._snapshot_at = self.seq
        saving = self._store.save_snapshot(self.seq, dump(self.catalog))
        self._snapshotting = asyncio.ensure_future(saving)
        self._snapshotting.add_done_callback(_report)

    async def _reach(self, seq: int) -> None:
        while self._settled < seq:
            if self._broken is not None:
                detail = "the change is written, but this site cannot follow its log any further"
                raise Refusal(Status.INTERNAL, detail) from self._broken
            await self._moved.wait()


def _report(saving: "asyncio.Future[None]") -> None:
    if not saving.cancelled() and (error := saving.exception()) is not None:
        log.error("the snapshot failed, the log stays as it is: %s", error)
