"""First uses: hold, ask the controller, keep its answer, take it back (design 7, S3 III-F).

Nothing here decides before the rules do: a controller is asked only when no rule says anything.
Calls to controllers and by them are never held, so that asking cannot lead to asking.
"""

import asyncio
import logging
from collections.abc import Callable, Container, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from gateway.first_use.answers import GRACE, Answers, Kept, Key, key_of
from gateway.message import Refusal, Status
from policy.access.index import AccessIndex
from policy.decision import Decision, Reason
from policy.first_use import (
    Covering,
    FirstUseAnswer,
    FirstUseQuestion,
    NoAnswer,
    question_of,
)
from policy.model import Action, Principal, Value
from registry.names import Name, is_reserved

WAITERS = 64
"""Uses that wait for the same answer."""
WAITERS_OF_ALL = 1024
HOLDS = 16
"""Questions about one principal at the same time."""
TRIES = 3
"""How often a question is asked while the environment changes under it."""
WARN_SECONDS = 1.0
SITE = Principal("site:first-use", "site")
"""Who asks controllers; a plug-in's policies are applied as this principal too."""

log = logging.getLogger("hilum.first-use")

Then = Callable[[Decision], None]


class Rules(Protocol):
    """What first use has to know of the policies in force."""

    def covering(self, action: Action, name: Name) -> Covering | None:
        """Return the most specific FirstUsePolicy for an action on a name."""
        ...

    def is_controller(self, name: Name) -> bool:
        """Whether a name is the method of a controller."""
        ...

    def is_by_controller(self, principal: str) -> bool:
        """Whether a principal provides a controller."""
        ...

    def environment(self) -> Mapping[str, Value]:
        """Return the environment's attributes as they are now, without the time."""
        ...


class Controller(Protocol):
    """What answers questions; both raise NoAnswer or Refusal."""

    async def ask(self, covering: Covering, question: FirstUseQuestion) -> FirstUseAnswer:
        """Ask the controller of a policy."""
        ...

    async def apply(self, covering: Covering, principal: str, answer: FirstUseAnswer) -> None:
        """Put the policies in force that came with an answer about a principal."""
        ...


class Clocks(NamedTuple):
    """``loop`` is monotonic seconds, ``unix`` Unix time in seconds."""

    loop: Callable[[], float]
    unix: Callable[[], float]


class _Held:
    """One question that is being asked, and who waits for the answer."""

    __slots__ = ("covering", "owner", "principal", "revoked", "waiters")

    def __init__(self, principal: Principal, covering: Covering, owner: str) -> None:
        self.principal = principal
        self.covering = covering
        self.owner = owner
        self.revoked = False
        self.waiters: list[Then] = []


class FirstUse:
    """All first uses of a site. ``redecide`` is told when open subscriptions must be decided anew.

    ``asked``, ``held``, ``failed`` and ``refused`` count questions, uses that waited, questions
    without an answer, and uses that there was no room for.
    """

    def __init__(
        self,
        access: AccessIndex,
        rules: Rules,
        controller: Controller,
        clocks: Clocks,
        redecide: Callable[[], None],
    ) -> None:
        self.asked = self.held = self.failed = self.refused = 0
        self._access = access
        self._rules = rules
        self._controller = controller
        self._clocks = clocks
        self._redecide = redecide
        self._answers = Answers(clocks.loop)
        self._held: dict[Key, _Held] = {}
        self._waiting = 0
        self._holds: dict[str, int] = {}
        self._tasks: set[asyncio.Task[Decision]] = set()
        self._environment = dict(rules.environment())
        self._told = False
        self._put_off = False
        self._warned = float("-inf")
        # The answer that those who waited are being told: it may be kept no longer than that.
        self._telling: tuple[Key, Decision] | None = None
        self.woke: Callable[[], None] = _nothing
        """Told after every answer: time has passed, and measurements should know."""
        access.first_uses = self.look

    @property
    def waiting(self) -> int:
        """How many uses wait for an answer now."""
        return self._waiting

    @property
    def kept(self) -> int:
        """How many answers are kept."""
        return len(self._answers)

    # What decides

    def look(
        self, principal: Principal, action: Action, name: Name, _: str = ""
    ) -> Decision | None:
        """Return what a controller has answered; None when it was not asked, or no longer."""
        key = key_of(principal, action, name)
        telling = self._telling
        if telling is not None and telling[0] == key:
            return telling[1]
        if principal is SITE:
            return _TO_CONTROLLER if self._rules.is_controller(name) else None
        return self._answers.use(key)

    def hold(
        self, principal: Principal, action: Action, name: Name, owner: str, then: Then
    ) -> bool:
        """Ask about a use that no rule decides; ``then`` gets the decision, later and once.

        False: nobody is to be asked. Raises Refusal when too many wait already.
        """
        covering = self._covering(principal, action, name)
        if covering is None:
            return False
        key = key_of(principal, action, name)
        held = self._held.get(key)
        full = self._waiting >= WAITERS_OF_ALL or (held and len(held.waiters) >= WAITERS)
        if full or (held is None and not self._ask_for(key, principal, covering, owner)):
            self.refused += 1
            detail = "too many first uses wait for the policy controller: try again in a moment"
            raise Refusal(Status.THROTTLED, detail, retry_after=1)
        self.held += 1
        self._waiting += 1
        self._held[key].waiters.append(then)
        return True

    def stands(self, principal: Principal, action: Action, name: Name, owner: str) -> bool:
        """Whether what is open may stay so although nothing decides: it is being asked again.

        That is so for ``GRACE`` seconds after the answer that allowed it has ended.
        """
        key = key_of(principal, action, name)
        kept = self._answers.find(key)
        now = self._clocks.loop()
        if kept is None or not kept.decision.allowed or now >= min(kept.ends, now) + GRACE:
            return False
        if kept.epoch == self._answers.epoch and now < kept.ends:  # open things are not idle
            kept.used = now
            return True
        covering = self._covering(principal, action, name)
        if covering is None:
            return False
        if key not in self._held and not self._ask_for(key, principal, covering, owner):
            self._put_off = True
        return True

    # What changes

    def revoke(self, principal: str, covers: Callable[[Name], bool]) -> None:
        """Take back what was answered about a principal and names; also what is being asked."""
        self._answers.drop_of(principal, covers)
        for (_, _, name), held in self._held.items():
            if held.principal.id == principal and covers(name):
                held.revoked = True
        self._tell()

    def end_of(self, credentials: Container[str]) -> None:
        """Credentials count no longer: whoever waits by one of them is denied."""
        for held in self._held.values():
            if held.principal.credential in credentials:
                held.revoked = True
        if self._answers.end_of(credentials):
            self._tell()

    def void(self) -> None:
        """Policies changed: believe nothing that was answered before."""
        if self._answers.void():
            self._tell()

    def look_at_environment(self) -> None:
        """The environment may have changed: ask again about what was answered from it."""
        before, self._environment = self._environment, dict(self._rules.environment())
        if before == self._environment:
            return
        names = before.keys() | self._environment.keys()
        changed = [n for n in names if before.get(n) != self._environment.get(n)]
        if self._answers.changed(changed):
            self._tell()

    def tick(self) -> None:
        """Once a second: let answers end."""
        if self._answers.sweep() or self._put_off:
            self._put_off = False
            self._tell()

    async def close(self) -> None:
        """Ask nothing any more; who waits is denied."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # Inside

    def _covering(self, principal: Principal, action: Action, name: Name) -> Covering | None:
        """Return the policy to ask by, None where only rules decide."""
        rules = self._rules
        covering = rules.covering(action, name)
        if covering is None or principal is SITE or is_reserved(name):
            return None
        if rules.is_controller(name) or rules.is_by_controller(principal.id):
            return None
        return covering

    def _ask_for(self, key: Key, principal: Principal, covering: Covering, owner: str) -> bool:
        """Begin to ask; False when too much is asked about this principal already."""
        who = principal.id
        holds = self._holds.get(who, 0)
        if holds >= HOLDS or len(self._held) >= WAITERS_OF_ALL:
            return False
        self._holds[who] = holds + 1
        held = self._held[key] = _Held(principal, covering, owner)
        self.asked += 1
        task = asyncio.get_running_loop().create_task(self._decided(key, held))
        self._tasks.add(task)
        task.add_done_callback(partial(self._finish, key, held))
        return True

    async def _decided(self, key: Key, held: _Held) -> Decision:
        covering, epoch = held.covering, self._answers.epoch
        try:
            async with asyncio.timeout(covering.policy.timeout / 1000):
                answer = await self._answer(key, held)
                if answer.policies and answer.allow and not held.revoked:
                    await self._controller.apply(covering, held.principal.id, answer)
        except TimeoutError:
            return self._unreachable(key, covering, f"no answer in {covering.policy.timeout} ms")
        except NoAnswer as error:
            return self._unreachable(key, covering, str(error))
        except Refusal as refusal:
            return self._unreachable(key, covering, f"{refusal.status.slug}: {refusal.detail}")
        except Exception as error:
            log.exception("the controller of %s failed", covering.label)
            return self._unreachable(key, covering, f"{type(error).__name__} in the controller")
        return self._keep(key, held, answer, epoch)

    async def _answer(self, key: Key, held: _Held) -> FirstUseAnswer:
        """Ask until the environment stays as it was for the length of a question."""
        principal, (_, action, name) = held.principal, key
        for _ in range(TRIES):
            seen = dict(self._rules.environment())
            told = {**seen, "time": int(self._clocks.unix())}
            question = question_of(principal, action, name, held.owner, told)
            answer = await self._controller.ask(held.covering, question)
            now = self._rules.environment()
            if all(seen.get(n) == now.get(n) for n in answer.environment):
                return answer
        raise NoAnswer("the environment changes faster than it answers")

    def _keep(self, key: Key, held: _Held, answer: FirstUseAnswer, epoch: int) -> Decision:
        covering, now = held.covering, self._clocks.loop()
        effect = "allow" if answer.allow else "deny"
        why = answer.reason or f"the controller says {effect}"
        obligations = answer.obligations if answer.allow else None
        decision = Decision(answer.allow, (Reason(covering.label, effect, why),), obligations)
        seconds = answer.seconds(covering.policy, self._clocks.unix())
        if seconds > 0 and not held.revoked:
            idle = answer.idle_seconds(covering.policy)
            reads, credential = answer.environment, held.principal.credential
            kept = Kept(decision, epoch, now + seconds, idle, now, reads, credential)
            self._answers.keep(key, kept)
        else:
            self._answers.drop(key)
        return decision

    def _unreachable(self, key: Key, covering: Covering, why: str) -> Decision:
        """Decide without an answer; that is never kept."""
        self.failed += 1
        effect = covering.policy.unreachable
        if effect == "allow":
            self._answers.retry(key)
        else:
            self._answers.drop(key)
        now = self._clocks.loop()
        if now - self._warned >= WARN_SECONDS:
            self._warned = now
            log.warning("the controller of %s gave no answer: %s", covering.label, why)
        reason = Reason(covering.label, effect, "its controller gave no answer")
        return Decision(effect == "allow", (reason,))

    def _finish(self, key: Key, held: _Held, task: asyncio.Task[Decision]) -> None:
        """Tell who waits: in their order, and unless a rule says otherwise by now."""
        self._tasks.discard(task)
        self.woke()
        decision = _STOPPED if task.cancelled() else task.result()
        principal, (_, action, name) = held.principal, key
        del self._held[key]
        self._waiting -= len(held.waiters)
        self._holds[principal.id] -= 1
        if not self._holds[principal.id]:
            del self._holds[principal.id]
        if held.revoked:
            decision = _REVOKED
        self._telling = key, decision
        try:
            for then in held.waiters:
                try:
                    then(self._access.check(principal, action, name, held.owner))
                except Exception:
                    log.exception("what waited for a first use of %s failed", name)
        finally:
            self._telling = None
        if action is Action.SUBSCRIBE and (self._put_off or not decision.allowed):
            self._tell()

    def _tell(self) -> None:
        """Have open subscriptions decided anew, once for all that happens in this moment."""
        if not self._told:
            self._told = True
            asyncio.get_running_loop().call_soon(self._tell_now)

    def _tell_now(self) -> None:
        self._told = False
        self._put_off = False
        self._redecide()


def _nothing() -> None:
    pass


_TO_CONTROLLER = Decision(
    True, (Reason("built-in", "allow", "the site asks the controllers of its policies"),)
)
_REVOKED = Decision(False, (Reason("built-in", "deny", "revoked while it was asked about"),))
_STOPPED = Decision(False, (Reason("built-in", "deny", "the site shuts down"),))
