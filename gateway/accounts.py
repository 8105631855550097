"""Accounts: what each principal and each binding has used, for agreements and bills (S3 III-B).

Counting is a few additions on the path of a message; what they add up to is kept by an
``AccountStore`` and survives restarts, but for what came after the last time it was written.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from time import process_time
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from gateway.exchange import Exchange
from gateway.message import Status
from policy.model import Action

CALL: Final = Action.CALL
PUBLISH: Final = Action.PUBLISH
KEPT = 20_000
"""Accounts of principals, and as many of bindings; who comes later shares one."""
OTHERS: Final = "_others"
SLICE: Final = 1000
"""Accounts that are looked at before others may run."""
BLOCK: Final = 4096
"""Bytes of payload that are reckoned as much work as a message is."""

Kind: TypeAlias = Literal["principal", "binding"]
KINDS: tuple[Kind, ...] = ("principal", "binding")


class Used(NamedTuple):
    """What was used: messages, payload bytes in and out, and seconds of the gateway's CPU."""

    calls: int = 0
    events: int = 0
    errors: int = 0
    received: int = 0
    sent: int = 0
    cpu: float = 0.0


class Row(NamedTuple):
    """One account as it is stored; ``updated`` is Unix time in seconds."""

    kind: str
    key: str
    used: Used
    updated: int


class AccountStore(Protocol):
    """Keeps accounts; its own file, apart from the change log."""

    async def load(self, most: int) -> Sequence[Row]:
        """Return the ``most`` rows of each kind that were used last."""
        ...

    async def save(self, rows: Sequence[Row]) -> None:
        """Replace rows; raises StoreError when the disk cannot."""
        ...


class Account:
    """The counters of one principal or binding; whoever counts adds to them directly."""

    __slots__ = ("_seen", "calls", "cpu", "errors", "events", "received", "sent")

    def __init__(self, used: Used) -> None:
        self.calls, self.events, self.errors, self.received, self.sent, self.cpu = used
        self._seen = self._work()

    def used(self) -> Used:
        """Return what was used until now."""
        return Used(self.calls, self.events, self.errors, self.received, self.sent, self.cpu)

    def fresh(self) -> float:
        """Return how much work it was since this was last asked; 0.0: nothing happened."""
        work = self._work()
        seen, self._seen = self._seen, work
        return work - seen

    def _work(self) -> float:
        return self.calls + self.events + (self.received + self.sent) / BLOCK


class Accounts:
    """All accounts of a site.

    ``cpu`` returns the seconds that the process has computed. Of those in an interval, an account
    gets the share that it had in the work of all: a message counts one, 4 KiB of payload one more.
    """

    def __init__(self, unix: Callable[[], float], cpu: Callable[[], float] = process_time) -> None:
        self._cpu = cpu
        self._time = unix
        self._computed = cpu()
        self._principals: dict[str, Account] = {}
        self._bindings: dict[str, Account] = {}
        self._accounts: dict[Kind, dict[str, Account]] = {
            "principal": self._principals,
            "binding": self._bindings,
        }
        self._updated: dict[tuple[Kind, str], int] = {}
        self._unsaved: dict[tuple[Kind, str], None] = {}

    def restore(self, rows: Iterable[Row]) -> None:
        """Go on counting where a store's rows end; call it before anything is counted."""
        for row in rows:
            kind: Kind = "principal" if row.kind == "principal" else "binding"
            self._accounts[kind][row.key] = Account(row.used)
            self._updated[kind, row.key] = row.updated

    def of(self, kind: Kind, key: str) -> Account:
        """Return the account of a principal's id, or of a binding; it stays the same for ever."""
        accounts = self._accounts[kind]
        account = accounts.get(key)
        if account is None:
            if len(accounts) >= KEPT:
                key = OTHERS
                account = accounts.get(key)
            if account is None:
                account = accounts[key] = Account(Used())
        return account

    def ended(self, exchange: Exchange, status: Status, _: float) -> None:
        """Count an exchange: every one that was a call or published something."""
        call = exchange.call
        action = call.action
        if action is not CALL and action is not PUBLISH:
            return
        target = exchange.target
        if target is None:
            binding = self._bindings.get(call.name) or self.of("binding", call.name)
        else:
            known = target.account
            if isinstance(known, Account):
                binding = known
            else:
                binding = target.account = self.of("binding", f"{call.name} at {target}")
        who = call.principal.id
        mine = self._principals.get(who) or self.of("principal", who)
        received, sent = exchange.received, exchange.sent
        if action is CALL:
            mine.calls += 1
            binding.calls += 1
        else:
            mine.events += 1
            binding.events += 1
        mine.received += received
        mine.sent += sent
        binding.received += received
        binding.sent += sent
        if status:
            mine.errors += 1
            binding.errors += 1

    async def attribute(self) -> None:
        """Attribute the CPU that was used since the last time to what caused it."""
        computed = self._cpu()
        seconds, self._computed = computed - self._computed, computed
        now = int(self._time())
        for kind, accounts in self._accounts.items():
            fresh: list[tuple[str, Account, float]] = []
            for number, (key, account) in enumerate(tuple(accounts.items())):
                if number % SLICE == SLICE - 1:
                    await asyncio.sleep(0)
                work = account.fresh()
                if work:
                    fresh.append((key, account, work))
            total = sum(work for _, _, work in fresh)
            for key, account, work in fresh:
                account.cpu += seconds * work / total
                self._updated[kind, key] = now
                self._unsaved[kind, key] = None

    def unsaved(self) -> list[Row]:
        """Return what has changed since ``saved``."""
        rows = []
        for kind, key in self._unsaved:
            used = self._accounts[kind][key].used()
            rows.append(Row(kind, key, used, self._updated[kind, key]))
        return rows

    def saved(self, rows: Iterable[Row]) -> None:
        """Rows are on disk."""
        for row in rows:
            kind: Kind = "principal" if row.kind == "principal" else "binding"
            if self._accounts[kind][row.key].used() == row.used:
                self._unsaved.pop((kind, row.key), None)

    def page(self, kind: Kind, after: str, limit: int) -> list[Row]:
        """Return accounts in the order of their keys."""
        accounts = self._accounts[kind]
        keys = sorted(key for key in accounts if key > after)[:limit]
        updated = self._updated
        return [Row(kind, k, accounts[k].used(), updated.get((kind, k), 0)) for k in keys]

    def mine(self, principal: str) -> list[Row]:
        """Return the account of one principal, if there is one."""
        account = self._accounts["principal"].get(principal)
        if account is None:
            return []
        updated = self._updated.get(("principal", principal), 0)
        return [Row("principal", principal, account.used(), updated)]

    def top(self, kind: Kind, limit: int) -> list[tuple[str, Used]]:
        """Return the accounts with most messages, and all others added up under OTHERS."""
        found = [(key, account.used()) for key, account in self._accounts[kind].items()]
        found.sort(key=lambda pair: -(pair[1].calls + pair[1].events))
        rest = [used for _, used in found[limit:]]
        if not rest:
            return found
        total = Used(*(sum(column) for column in zip(*rest, strict=True)))
        return [*found[:limit], (OTHERS, total)]
