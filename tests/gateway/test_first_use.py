"""First uses with a controller whose answers a test decides; only that, and time, are made up."""

import asyncio

import pytest

from gateway.first_use.answers import ANSWERS, GRACE, Kept, key_of
from gateway.first_use.uses import HOLDS, SITE, WAITERS, WAITERS_OF_ALL, Clocks, FirstUse
from gateway.message import Refusal, Status
from policy.access.index import UNDECIDED, AccessIndex
from policy.decision import Decision
from policy.first_use import Covering, FirstUseAnswer, NoAnswer
from policy.model import AccessPolicy, Action, FirstUsePolicy, Principal, Subject
from registry.names import Name

DOOR = Name("lab/door/open")
DECIDE = Name("lab/desk/decide")
ANN = Principal("user:ann", "user")
CALL, SUBSCRIBE = Action.CALL, Action.SUBSCRIBE
ALLOW = FirstUseAnswer(True)
DENY = FirstUseAnswer(False)


class World:
    """First use with rules of a real index; the controller answers what ``answer`` is or does."""

    def __init__(self, **policy):
        self.now = 100.0
        self.threat = 0.0
        self.answer = ALLOW
        self.questions = []
        self.applied = []
        self.redecided = 0
        self.policy = FirstUsePolicy(("**",), call=DECIDE, **policy)
        self.access = AccessIndex("lab")
        clocks = Clocks(lambda: self.now, lambda: 6000.0 + self.now)
        self.first_use = FirstUse(self.access, self, self, clocks, self.redecide)

    def redecide(self):
        self.redecided += 1

    def covering(self, action, name):
        is_covered = action in self.policy.actions and not name.endswith("/free")
        return Covering("all", self.policy) if is_covered else None

    def is_controller(self, name):
        return name == DECIDE

    def is_by_controller(self, principal):
        return principal == "token:desk"

    def environment(self):
        return {"threat": self.threat}

    async def ask(self, covering, question):
        self.questions.append(question)
        await asyncio.sleep(0)
        answer = self.answer() if callable(self.answer) else self.answer
        return await answer if asyncio.iscoroutine(answer) else answer

    async def apply(self, covering, principal, answer):
        self.applied.append((principal, answer.policies))

    async def use(self, principal=ANN, name=DOOR, action=CALL):
        """Use a name as an exchange does."""
        decision = self.access.check(principal, action, name, "")
        if decision is not UNDECIDED:
            return decision.allowed
        told = asyncio.get_running_loop().create_future()
        if not self.first_use.hold(principal, action, name, "", told.set_result):
            return False
        return (await told).allowed

    def rule(self, effect, **what):
        subjects = (Subject(**what.pop("subject", {})),)
        policy = AccessPolicy(effect, subjects, (CALL, SUBSCRIBE), ("**",), **what)
        self.access.put("AccessPolicy", effect, policy)


async def test_the_first_use_is_asked_about_and_the_next_is_not():
    world = World()
    assert await world.use()
    assert await world.use()
    assert [q.name for q in world.questions] == [DOOR]
    assert world.questions[0].environment == {"threat": 0.0, "time": 6100}
    assert world.first_use.kept == 1


async def test_rules_come_first():
    world = World()
    world.rule("deny")
    assert not await world.use()
    assert world.questions == []
    world.access.remove("AccessPolicy", "deny")
    world.rule("allow")
    assert await world.use()
    assert world.questions == []


async def test_a_deny_that_comes_while_it_is_asked_counts():
    world = World()

    async def slowly():
        world.rule("deny")
        return ALLOW

    world.answer = slowly
    assert not await world.use()


async def test_uses_wait_together_in_order_and_one_question_is_asked():
    world = World()
    order = []
    for number in range(WAITERS):
        world.first_use.hold(ANN, CALL, DOOR, "", lambda d, n=number: order.append((n, d.allowed)))
    with pytest.raises(Refusal) as refused:
        world.first_use.hold(ANN, CALL, DOOR, "", order.append)
    assert refused.value.status is Status.THROTTLED
    assert world.first_use.waiting == WAITERS
    await settle()
    assert order == [(n, True) for n in range(WAITERS)]
    assert len(world.questions) == 1
    assert (world.first_use.waiting, world.first_use.refused) == (0, 1)


async def test_one_principal_has_few_questions_and_all_together_a_limit():
    world = World()
    for number in range(HOLDS):
        assert world.first_use.hold(ANN, CALL, Name(f"lab/door/{number}"), "", lambda _: None)
    with pytest.raises(Refusal):
        world.first_use.hold(ANN, CALL, DOOR, "", lambda _: None)
    assert await world.use(Principal("user:bob", "user"))
    for number in range(WAITERS_OF_ALL):
        who = Principal(f"user:{number}", "user")
        assert world.first_use.hold(who, CALL, DOOR, "", lambda _: None)
    with pytest.raises(Refusal):
        world.first_use.hold(Principal("user:last", "user"), CALL, DOOR, "", lambda _: None)
    await world.first_use.close()
    assert world.first_use.waiting == 0


async def test_answers_end_unused_and_at_last():
    world = World(idle=10, hard=25)
    assert await world.use()
    for _ in range(3):
        world.now += 8
        assert await world.use()
    assert len(world.questions) == 1
    world.now += 8  # 32 seconds old
    assert await world.use()
    assert len(world.questions) == 2
    world.now += 11  # unused for so long
    assert await world.use()
    assert len(world.questions) == 3


async def test_a_deny_is_kept_briefly_or_not_at_all():
    world = World(deny=5)
    world.answer = DENY
    assert not await world.use()
    assert not await world.use()
    assert len(world.questions) == 1
    world.now += 5
    assert not await world.use()
    assert len(world.questions) == 2
    never = World(deny=0)
    never.answer = DENY
    assert not await never.use()
    assert not await never.use()
    assert len(never.questions) == 2


async def raising(error):
    raise error


@pytest.mark.parametrize("unreachable", ["deny", "allow"])
@pytest.mark.parametrize(
    "answer",
    [
        lambda: asyncio.sleep(10),
        lambda: raising(NoAnswer("garbage")),
        lambda: raising(Refusal(Status.UNAVAILABLE, "dead")),
        lambda: raising(ZeroDivisionError()),
    ],
    ids=["late", "garbage", "dead", "broken"],
)
async def test_without_an_answer_the_policy_says_what_then_and_nothing_is_kept(unreachable, answer):
    world = World(timeout=20, unreachable=unreachable)
    world.answer = answer
    assert await world.use() is (unreachable == "allow")
    assert world.first_use.kept == 0
    world.answer = ALLOW
    assert await world.use()
    assert (len(world.questions), world.first_use.failed) == (2, 1)


async def test_what_was_read_from_the_environment_is_asked_again_when_that_changes():
    world = World()
    world.answer = lambda: FirstUseAnswer(world.threat < 5, reads=("environment.threat",))
    assert await world.use()
    world.threat = 7.0
    world.first_use.look_at_environment()
    assert not await world.use()
    assert len(world.questions) == 2


async def test_what_changes_while_it_is_asked_is_asked_again():
    world = World()

    def rise():
        before, world.threat = world.threat, 7.0
        return FirstUseAnswer(before < 5, reads=("environment.threat",))

    world.answer = rise
    assert not await world.use()
    assert len(world.questions) == 2

    def flicker():
        world.threat += 1
        return FirstUseAnswer(True, reads=("environment.threat",))

    world.answer = flicker
    assert not await world.use(name=Name("lab/door/close"))
    assert world.first_use.failed == 1


async def test_policies_that_change_void_every_answer():
    world = World()
    assert await world.use()
    world.first_use.void()
    assert await world.use()
    assert len(world.questions) == 2


async def test_a_revocation_takes_back_what_was_answered_and_what_is_asked():
    world = World()
    assert await world.use()
    world.first_use.revoke(ANN.id, lambda _: True)
    world.answer = DENY
    assert not await world.use()

    async def revoked():
        world.first_use.revoke(ANN.id, lambda _: True)
        return ALLOW

    world.answer = revoked
    assert not await world.use(name=Name("lab/door/close"))
    assert not await world.use(name=Name("lab/door/close"))


async def test_calls_to_and_by_controllers_and_reserved_names_are_never_held():
    world = World()
    assert not await world.use(name=DECIDE)
    assert not await world.use(Principal("token:desk", "service"))
    assert not await world.use(name=Name("lab/$site/policy/apply"))
    assert not await world.use(name=Name("lab/door/free"))
    assert world.questions == []
    assert await world.use(SITE, DECIDE)
    assert not await world.use(SITE, DOOR)
    world.rule("deny", subject={"principal": SITE.id})
    assert not await world.use(SITE, DECIDE)


async def test_policies_of_an_answer_are_applied_before_anybody_goes_on():
    world = World()
    manifest = {"kind": "AccessPolicy"}
    world.answer = FirstUseAnswer(True, policies=(manifest,))
    assert await world.use()
    assert world.applied == [("user:ann", (manifest,))]
    world.answer = FirstUseAnswer(False, policies=(manifest,))
    assert not await world.use(name=Name("lab/door/close"))
    assert len(world.applied) == 1


async def settle():
    for _ in range(6):
        await asyncio.sleep(0)


async def test_a_live_subscription_stands_until_the_next_answer():
    world = World()
    world.answer = lambda: FirstUseAnswer(world.threat < 5, reads=("environment.threat",))
    assert await world.use(action=SUBSCRIBE)
    stands = lambda: world.first_use.stands(ANN, SUBSCRIBE, DOOR, "")  # noqa: E731
    assert stands()
    world.threat = 3.0
    world.first_use.look_at_environment()
    await settle()
    assert world.redecided == 1
    assert stands()  # asked again by that
    await settle()
    assert stands()
    assert len(world.questions) == 2
    world.threat = 9.0
    world.first_use.look_at_environment()
    await settle()
    assert stands()
    await settle()
    assert not stands()
    assert world.redecided == 3  # told of the change, and of the deny


async def test_a_live_subscription_is_not_idle_and_ends_with_its_answer_at_last():
    world = World(idle=10, hard=100, timeout=20)
    assert await world.use(action=SUBSCRIBE)
    stands = lambda: world.first_use.stands(ANN, SUBSCRIBE, DOOR, "")  # noqa: E731
    for _ in range(5):
        world.now += 12
        world.first_use.tick()
        await settle()
        assert stands()
    assert len(world.questions) == 1
    world.answer = lambda: raising(NoAnswer("dead"))
    for _ in range(39):
        world.now += 1
        world.first_use.tick()
        assert stands()
    world.now += 1
    world.first_use.tick()
    assert stands()  # it is asked again
    await settle()
    assert not stands()


async def test_an_unreachable_controller_that_allows_lets_subscriptions_stand():
    world = World(hard=100, unreachable="allow")
    assert await world.use(action=SUBSCRIBE)
    world.answer = lambda: raising(NoAnswer("dead"))
    world.now += 100
    for _ in range(2 * int(GRACE)):
        world.now += 1
        world.first_use.tick()
        await settle()
        assert world.first_use.stands(ANN, SUBSCRIBE, DOOR, "")
        await settle()
    assert len(world.questions) > GRACE


async def test_more_subscriptions_than_questions_are_asked_about_in_turn():
    world = World()
    names = [Name(f"lab/door/{number}") for number in range(HOLDS + 4)]
    for name in names:
        assert await world.use(name=name, action=SUBSCRIBE)
    world.first_use.void()
    await settle()
    for _ in range(2):
        assert all(world.first_use.stands(ANN, SUBSCRIBE, name, "") for name in names)
        await settle()
    assert len(world.questions) == 2 * len(names)


async def test_one_that_fails_to_go_on_holds_up_nobody():
    world = World()
    world.first_use.hold(ANN, CALL, DOOR, "", lambda _: 1 / 0)
    assert await world.use()


async def test_kept_answers_are_bounded_and_ended_ones_are_forgotten():
    world = World(hard=10)
    answers = world.first_use._answers
    for number in range(ANSWERS + 10):
        who = Principal(f"user:{number}", "user")
        keep_one(world, who)
    assert world.first_use.kept == ANSWERS
    world.now += 10
    world.first_use.tick()
    world.now += GRACE
    world.first_use.tick()
    assert world.first_use.kept == 0
    assert not answers._readers


def keep_one(world, who):
    """Keep an answer without asking."""
    kept = Kept(Decision(True, ()), 0, world.now + 10, 60.0, world.now, frozenset({"threat"}))
    world.first_use._answers.keep(key_of(who, CALL, DOOR), kept)


async def test_a_newer_credential_of_the_same_principal_asks_nothing_other_attributes_do():
    world = World()
    assert await world.use(Principal("user:eve", "user", credential="t1"))
    assert await world.use(Principal("user:eve", "user", credential="t2"))
    assert len(world.questions) == 1
    promoted = Principal("user:eve", "user", attributes={"rank": "doctor", "wards": ("a", "b")})
    assert await world.use(promoted)
    assert await world.use(Principal("user:eve", "doctor"))
    assert [dict(q.attributes) for q in world.questions] == [{}, dict(promoted.attributes), {}]


async def test_when_a_credential_ends_what_was_asked_by_it_is_asked_again():
    world = World()
    old, new = (Principal("user:eve", "user", credential=c) for c in ("t1", "t2"))
    assert await world.use(old, action=SUBSCRIBE)
    world.first_use.end_of({"t1"})
    await settle()
    assert world.redecided == 1
    assert world.first_use.stands(new, SUBSCRIBE, DOOR, "")
    await settle()
    assert await world.use(new, action=SUBSCRIBE)
    assert len(world.questions) == 2

    async def ending():
        world.first_use.end_of({"t2"})
        return ALLOW

    world.answer = ending
    assert not await world.use(new, name=Name("lab/door/close"))
