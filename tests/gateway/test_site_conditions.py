"""A site's conditions follow its clock, its registry and what operators state."""

import asyncio

import pytest

from policy.model import (
    AccessPolicy,
    Action,
    Attribute,
    Environment,
    ObjectAttributes,
    Principal,
    Role,
    Subject,
)
from registry.changes import Deregistered, PolicyDeleted
from tests.gateway.sites import ASK, A, Time, applied, change, opened, registered, running

ANN = Principal("user:ann", "person")


def allow(when: str, to: Subject = Subject()) -> AccessPolicy:  # noqa: B008
    return AccessPolicy("allow", (to,), (Action.CALL,), ("**",), (), when)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        yield store


@pytest.fixture
async def site(store, time):
    async with running(store, time) as site:
        yield site


@pytest.fixture
def told(site):
    calls = []
    site.watchers.access.append(lambda: calls.append(1))
    return calls


def may(site) -> bool:
    return site.allowed(ANN, Action.CALL, ASK)


async def test_what_is_open_is_decided_again_when_the_clock_says_so(site, time, told):
    # It is 22:13:20.
    await change(site, applied("a", allow("environment.time in 08:00..22:30")))
    assert may(site)
    told.clear()
    time.pass_by(600)
    site.tick()
    assert may(site)
    assert not told
    time.pass_by(600)
    site.tick()
    assert not may(site)
    assert told == [1]


async def test_a_site_has_looked_at_the_clock_before_it_decides(store, time):
    async with running(store, time) as site:
        await change(site, applied("a", allow("environment.weekday == Tuesday")))
    async with running(store, time) as site:
        assert may(site)


async def test_decisions_follow_the_registry_and_what_is_stated(site, told):
    await change(
        site,
        applied("place", Attribute("object.place", "path")),
        applied("a", allow('object.microservice == "Weather" and object.place within "b1"')),
    )
    assert not may(site)
    told.clear()
    await change(site, registered(A))
    assert told
    assert not may(site)
    told.clear()
    await change(site, applied("stated", ObjectAttributes(("**",), {"place": "b1/r2"})))
    assert may(site)
    assert told
    told.clear()
    await change(site, Deregistered(A))
    assert not may(site)
    assert told


async def test_decisions_follow_roles_and_the_environment(site, told):
    await change(site, applied("a", allow("environment.threat < 3", Subject(role="nurse"))))
    assert not may(site)
    steps = [
        (applied("nurse", Role((Subject("user:ann"),))), True),
        (applied("high", Environment(5)), False),
        (PolicyDeleted("Environment", "high"), True),
        (PolicyDeleted("Role", "nurse"), False),
    ]
    for step, expected in steps:
        told.clear()
        await change(site, step)
        assert may(site) is expected
        assert told


async def test_a_rule_that_fails_is_told_once_in_the_log(site, caplog):
    await change(
        site,
        applied("level", Attribute("subject.level", "number")),
        applied("bad", allow("subject.level / 0 > 1")),
        applied("good", allow("")),
    )
    for who in (ANN, Principal("user:bob", "person", attributes={"level": 1.0})):
        for _ in range(3):
            assert site.allowed(who, Action.CALL, ASK)
            site.policies.access.forget()
    found = [m for m in caplog.messages if "could not be evaluated" in m]
    assert found == ["AccessPolicy/bad could not be evaluated: subject.level is missing"]


async def test_a_change_is_tried_with_the_site_s_clock_and_statements(site):
    await change(site, applied("threat", Environment(1)), applied("a", allow("")))
    assert may(site)
    index = site.policies.access.empty()
    index.put("AccessPolicy", "a", allow("environment.time > 22:00 and environment.threat == 0"))
    assert index.check(ANN, Action.CALL, ASK, "").allowed


async def test_a_deny_whose_attribute_comes_with_it_denies_nobody_else_meanwhile(site, store, told):
    await change(site, applied("all", allow("")), applied("level", Attribute("subject.level")))
    denies = [
        AccessPolicy("deny", (Subject(),), (Action.CALL,), ("**",), (), "subject.grade == 'x'"),
        AccessPolicy("deny", (Subject("user:bob"),), (Action.CALL,), ("**",), (), "true"),
    ]
    plan = [
        applied("grade", Attribute("subject.grade")),
        *(applied(f"no{n}", deny) for n, deny in enumerate(denies)),
    ]
    ann = Principal("user:ann", "person", attributes={"grade": "a"})
    bob = Principal("user:bob", "person", attributes={"grade": "a"})
    store.gate.clear()
    writing = asyncio.create_task(site.enact("user:op", lambda _: plan))
    await asyncio.sleep(0.02)
    assert site.allowed(ann, Action.CALL, ASK)
    assert not site.allowed(bob, Action.CALL, ASK)
    store.gate.set()
    assert await writing
    assert site.allowed(ann, Action.CALL, ASK)
    assert not site.allowed(ANN, Action.CALL, ASK)
