"""What is changed for thousands of names at once does not hold up traffic."""

import asyncio

import pytest

from policy.model import HealthCheck
from registry.changes import Change, PolicyDeleted
from registry.model import RegistrationId
from registry.names import Name
from tests.gateway.sites import (
    A,
    Time,
    applied,
    change,
    opened,
    registered,
    resolution,
    running,
    until,
    watched,
)

SERVICES = 500
METHODS = [f"m{n}" for n in range(10)]
LAST = Name(f"s/w{SERVICES - 1}/m9")


def services() -> list[Change]:
    ids = [RegistrationId("Weather", "1", str(n)) for n in range(SERVICES)]
    return [
        registered(id_, obj=Name(f"s/w{id_.instance}"), methods=METHODS, channels=()) for id_ in ids
    ]


@pytest.fixture
async def time():
    return Time()


@pytest.fixture
async def site(tmp_path, time):
    async with opened(tmp_path) as store, running(store, time) as site:
        for service in services():
            await change(site, service)
        assert len(site.view.routes) == SERVICES * 11
        yield site


async def test_a_wildcard_policy_over_5000_names_does_not_block_the_loop(site):
    for revision, what in enumerate(
        (
            applied("r", resolution("**", sticky="principal")),
            applied("r", resolution("*/*", health=HealthCheck("/"))),
            PolicyDeleted("ResolutionPolicy", "r"),
        )
    ):
        before = site.view.find(LAST)
        async with watched() as passes:
            await change(site, what)
        assert max(passes) < 0.05, f"change {revision}"
        assert len(passes) > 20
        assert site.view.find(LAST) is not before


async def test_all_routes_of_a_change_come_into_force_together(site):
    names = [Name(f"s/w{n}/m0") for n in range(SERVICES)]
    seen = set()
    task = asyncio.create_task(change(site, applied("r", resolution(sticky="principal"))))
    while not task.done():
        seen.add(frozenset(site.view.find(n).selection.sticky for n in names))
        await asyncio.sleep(0)
    assert seen == {frozenset({""}), frozenset({"principal"})}


async def test_500_services_that_expire_at_once_do_not_block_the_loop(site, time):
    time.pass_by(60)
    due = site.due(time.loop)
    assert len(due) == SERVICES
    async with watched() as passes:
        await site.expire(due)
        await until(lambda: site.ledger.owed == 0)
    assert max(passes) < 0.05
    assert not list(site.view.find(LAST).selection.targets())


async def test_a_change_among_many_names_costs_what_it_touches(site):
    counting = site._installer._compiler = Counting(site._compiler)
    await change(site, registered(A, obj=Name("s/new"), methods=("x",), channels=()))
    assert sorted(counting.compiled) == ["s/new", "s/new/x"]


class Counting:
    """Notes what it has compiled."""

    def __init__(self, compiler) -> None:
        self._compiler = compiler
        self.compiled: list[Name] = []

    def compile(self, names):
        self.compiled += names
        return self._compiler.compile(names)
