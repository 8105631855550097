"""The change pipeline (design 5): plan against the pending tail, append, follow, acknowledge.

The catalog moves only by following the store, so that a replica or a worker process is simply
another follower of the same log.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from gateway.message import Refusal, Status, Unwritten
from gateway.ports import Entry, Store, StoreConflict, StoreError
from registry.catalog import Catalog, Touched
from registry.changes import Batch, Change, decode, encode
from registry.draft import Draft
from registry.names import Name
from registry.snapshot import dump, load

log = logging.getLogger("hilum.ledger")

Plan = Callable[[Catalog], Sequence[Change]]
"""Reads the newest state and returns the Changes to append; raises Refusal, has no effects."""

TRIES = 8
SLICE = 64
"""Entries that are entered before others may run."""
DRAFT_LIMIT = 1024
RETRY_SECONDS = 1.0


class Entered(NamedTuple):
    """A Change that is in the catalog now: ``gone`` are names that did not outlive it."""

    change: Change
    touched: Touched
    gone: frozenset[Name]


class _Planned:
    """A batch on its way to the log; ``written`` is None until that is known."""

    __slots__ = ("body", "changes", "written")

    def __init__(self, changes: Sequence[Change], body: bytes) -> None:
        self.changes = changes
        self.body = body
        self.written: bool | None = None

    def is_over(self) -> bool:
        """Whether it is known what became of it."""
        return self.written is not None


class _Owed(NamedTuple):
    """A withdrawal that is in force but not yet written; ``done`` is told when it is."""

    actor: str
    plan: Plan
    done: Callable[[], None]


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
        self.heard: Callable[[int, Batch], None] | None = None
        """Is told of each entry as it comes into force, those of a replay too."""
        self.hindrance: Callable[[], str] | None = None
        """Returns why nothing may be changed now, "" when it may."""
        self.seq = 0
        self._draft: Catalog = Draft(self.catalog)
        # What was planned on top of ``seq``, in the order of the log: the tail of the draft.
        self._pending: deque[_Planned] = deque()
        self._drafted = 0
        self._settled = 0
        self._moved = asyncio.Event()
        self._ended = False
        self._snapshotting: asyncio.Task[None] | None = None
        self._owed: dict[Hashable, _Owed] = {}
        self._debt = asyncio.Event()

    @property
    def owed(self) -> int:
        """How many withdrawals are in force but not yet written."""
        return len(self._owed)

    @property
    def draft(self) -> Catalog:
        """The newest state: what is committed, and what is on its way."""
        return self._draft

    async def change(self, actor: str, plan: Plan) -> Sequence[Change]:
        """Append what ``plan`` returns; answers when it is durable and in force here.

        Raises the plan's Refusal, or Unwritten when the store cannot write.
        """
        why = "" if self.hindrance is None else self.hindrance()
        if why:
            raise Unwritten(Status.UNAVAILABLE, f"nothing was changed: {why}", retry_after=5)
        for _ in range(TRIES):
            changes = tuple(plan(self._draft))
            if not changes:
                if await self._tail_is_written():
                    return ()
                continue
            body = encode(Batch(self._time_ms(), actor, changes))
            expected = self.seq + len(self._pending)
            planned = self._plan(changes, body)
            try:
                seq = await self._store.append(expected, [body])
            except StoreConflict:
                self._drop(planned)
                await self._reach(await self._store.head())
            except StoreError as error:
                self._drop(planned)
                detail = f"nothing was changed: the site's store cannot write: {error}"
                raise Unwritten(Status.UNAVAILABLE, detail, retry_after=5) from error
            else:
                await self._reach(seq)
                return changes
        detail = "nothing was changed: others keep changing the same state"
        raise Unwritten(Status.CONFLICT, detail, retry_after=1)

    async def withdraw(self, key: Hashable, actor: str, plan: Plan) -> bool:
        """Append a withdrawal that is in force already; owe it when the store cannot write.

        Returns whether it is durable.
        """
        try:
            await self.change(actor, plan)
        except Unwritten as refusal:
            log.warning("a withdrawal is in force but not yet durable: %s", refusal.detail)
            self.owe(key, actor, plan)
            return False
        return True

    def owe(
        self, key: Hashable, actor: str, plan: Plan, done: Callable[[], None] = lambda: None
    ) -> None:
        """Write a withdrawal that is in force already as soon as that works.

        It replaces what was owed under the same key, which says in the log what it is. ``done`` is
        called once, when it is written or has become pointless.
        """
        replaced = self._owed.pop(key, None)
        self._owed[key] = _Owed(actor, plan, done)
        self._debt.set()
        if replaced is not None:
            replaced.done()

    async def pay(self) -> None:
        """Write what is owed, for ever."""
        while True:
            await self._debt.wait()
            self._debt.clear()
            for key, owed in list(self._owed.items()):
                if self._owed.get(key) is owed and not await self._pay(key, owed):
                    await asyncio.sleep(RETRY_SECONDS)
                    self._debt.set()
                    break

    async def replay(self, upto: int) -> None:
        """Bring the catalog to entry ``upto`` at least, from the snapshot and the log.

        Raises StoreError when this version cannot read what is stored.
        """
        snapshot = await self._store.snapshot()
        if snapshot is not None:
            try:
                load(self.catalog, snapshot.records)
            except ValueError as error:
                raise StoreError(
                    f"cannot read the snapshot of entry {snapshot.seq}: {error}"
                ) from error
            self.seq = self._snapshot_at = snapshot.seq
        if self.seq < upto:
            async for entries in self._store.follow(self.seq):
                for part in _slices(entries):
                    self._enter(part)
                    await asyncio.sleep(0)
                if self.seq >= upto:
                    break
        self._settled = self.seq
        self._redraft()

    async def run(self, applied: Callable[[Sequence[Entered]], Awaitable[None]]) -> None:
        """Follow the log for ever; ``applied`` puts in force what was entered."""
        try:
            async for entries in self._store.follow(self.seq):
                for part in _slices(entries):
                    await applied(self._enter(part))
                    self._settled = self.seq
                    self._wake()
                    await asyncio.sleep(0)
                if self.seq - self._snapshot_at >= self._snapshot_every:
                    self._snapshot()
        finally:
            self._ended = True
            self._wake()

    async def close(self) -> None:
        """Give up a snapshot that is on its way: it is as if it had never begun.

        What is still owed is lost, which the log says.
        """
        for key, owed in self._owed.items():
            log.error("a withdrawal by %s was never written and ends here: %s", owed.actor, key)
        if self._snapshotting is not None:
            self._snapshotting.cancel()
            await asyncio.wait([self._snapshotting])

    # The committed state

    def _enter(self, entries: Sequence[Entry]) -> list[Entered]:
        entered = []
        for entry in entries:
            try:
                batch = decode(entry.body)
            except ValueError as error:
                raise StoreError(f"cannot read entry {entry.seq} of the log: {error}") from error
            for change in batch.changes:
                touched = self.catalog.apply(change)
                gone = frozenset(n for n in touched.names if n not in self.catalog.names)
                entered.append(Entered(change, touched, gone))
            self.seq = entry.seq
            if self.heard is not None:
                self.heard(entry.seq, batch)
            self._arrived(entry)
        return entered

    def _arrived(self, entry: Entry) -> None:
        """Compare an entry with what was planned for its place: it is that, or all is in vain."""
        if not self._pending:
            return
        first = self._pending[0]
        if first.body == entry.body:
            self._pending.popleft()
            first.written = True
            if not self._pending:
                self._redraft()
        else:
            self._drop(first)

    def _snapshot(self) -> None:
        if self._snapshotting is None or self._snapshotting.done():
            self._snapshot_at = self.seq
            self._snapshotting = asyncio.create_task(self._save(self.seq, dump(self.catalog)))

    async def _save(self, seq: int, records: Iterator[bytes]) -> None:
        try:
            await self._store.save_snapshot(seq, records)
        except StoreError as error:
            log.warning("the snapshot failed, the log stays as it is: %s", error)

    # The draft

    def _plan(self, changes: Sequence[Change], body: bytes) -> _Planned:
        if self._drafted > DRAFT_LIMIT:
            self._redraft()
        planned = _Planned(changes, body)
        self._pending.append(planned)
        self._extend(planned)
        return planned

    def _extend(self, planned: _Planned) -> None:
        for change in planned.changes:
            self._draft.apply(change)
        self._drafted += len(planned.changes)

    def _redraft(self) -> None:
        self._draft = Draft(self.catalog)
        self._drafted = 0
        for planned in self._pending:
            self._extend(planned)

    def _drop(self, planned: _Planned) -> None:
        """Forget a batch that was not written, and all that was planned on top of it."""
        if planned.is_over():
            return
        while not planned.is_over():
            self._pending.pop().written = False
        self._redraft()
        self._wake()

    async def _tail_is_written(self) -> bool:
        """Wait for what is on its way; return False if it did not get there."""
        if not self._pending:
            return True
        last = self._pending[-1]
        while not last.is_over():
            await self._wait()
        await self._reach(self.seq)
        return bool(last.written)

    # Waiting

    async def _reach(self, seq: int) -> None:
        while self._settled < seq:
            await self._wait()

    async def _wait(self) -> None:
        if self._ended:
            detail = (
                "this site follows its log no more: it will know of this change after a restart"
            )
            raise Unwritten(Status.UNAVAILABLE, detail)
        await self._moved.wait()

    def _wake(self) -> None:
        self._moved.set()
        self._moved.clear()

    async def _pay(self, key: Hashable, owed: _Owed) -> bool:
        """Write one withdrawal; return False when the store still cannot."""
        try:
            await self.change(owed.actor, owed.plan)
        except Unwritten:
            return False
        except Refusal as refusal:
            log.warning("a withdrawal has become pointless: %s", refusal.detail)
        except Exception:
            log.exception("a withdrawal cannot be written")
        if self._owed.get(key) is owed:
            del self._owed[key]
            owed.done()
        return True


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    for start in range(0, len(entries), SLICE):
        yield entries[start : start + SLICE]
