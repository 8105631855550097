"""Dynamic policies end by the clock: with a full disk, after a restart, however late the log is."""

import msgspec
import pytest

from policy.model import Action, Principal
from registry.changes import PolicyApplied
from registry.names import Name
from tests.gateway.sites import (
    ASK,
    A,
    Time,
    change,
    opened,
    record,
    registered,
    rule,
    running,
    until,
)

ANN = Principal("user:ann", "user")
CALL = Action.CALL


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("gateway.ledger.RETRY_SECONDS", 0.01)


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
        await change(site, registered(A))
        yield site


def until_(end, name="guests", effect="allow", revision=1):
    made = record(name, rule(effect, CALL, names="**"), revision)
    return PolicyApplied(msgspec.structs.replace(made, expires=int(end)))


def allowed(site, name=ASK):
    return site.allowed(ANN, CALL, Name(name))


async def test_a_policy_ends_in_time_and_is_deleted(site, time):
    await change(site, until_(site.time() + 10))
    assert allowed(site)
    time.pass_by(9)
    await site.sweep_policies()
    assert allowed(site)
    told = []
    site.watchers.access.append(lambda: told.append(True))
    time.pass_by(1)
    await site.sweep_policies()
    assert not allowed(site)
    assert told
    await until(lambda: not site.catalog.policies)


async def test_it_ends_although_the_disk_is_full(site, store, time):
    await change(site, until_(site.time() + 10))
    store.break_down()
    time.pass_by(10)
    await site.sweep_policies()
    assert not allowed(site)
    assert site.catalog.policies
    store.recover()
    await until(lambda: not site.catalog.policies)


async def test_it_ends_while_the_site_is_down(store, time):
    async with running(store, time) as site:
        await change(site, until_(site.time() + 10))
        await change(site, until_(site.time() + 20, "others", "deny"))
        assert not allowed(site)
    time.pass_by(10)
    async with running(store, time) as site:
        policies = site.policies.specs()
        assert list(policies) == [("AccessPolicy", "others")]
        await site.sweep_policies()
        await until(lambda: list(site.catalog.policies) == [("AccessPolicy", "others")])
        time.pass_by(10)
        await site.sweep_policies()
        assert not site.policies.specs()


async def test_what_comes_too_late_is_never_in_force(site):
    await change(site, until_(site.time() - 1))
    assert not allowed(site)
    await site.sweep_policies()
    await until(lambda: not site.catalog.policies)


async def test_one_that_is_applied_again_lives_on(site, time):
    end = site.time() + 10
    await change(site, until_(end))
    await change(site, until_(end + 10, revision=2))
    time.pass_by(10)
    await site.sweep_policies()
    assert allowed(site)
    lasting = msgspec.structs.replace(until_(0, revision=3).policy, expires=0)
    await change(site, PolicyApplied(lasting))
    time.pass_by(100)
    await site.sweep_policies()
    assert allowed(site)


async def test_a_withdrawal_is_in_force_at_once_and_spares_what_is_newer(site, store):
    await change(site, until_(site.time() + 10))
    store.break_down()
    assert not await site.withdraw("user:op", [("AccessPolicy", "guests"), ("AccessPolicy", "no")])
    assert not allowed(site)
    store.recover()
    await until(lambda: not site.catalog.policies)
    assert await site.withdraw("user:op", [])


async def test_changes_of_lasting_policies_are_counted(site):
    before = site.dynamic.lasting
    await change(site, until_(site.time() + 10))
    assert site.dynamic.lasting == before
    await change(site, PolicyApplied(record("ever", rule("deny", CALL))))
    assert site.dynamic.lasting == before + 1
