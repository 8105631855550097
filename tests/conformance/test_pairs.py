"""Every scenario for every pair of protocols, on real sockets against one site's process.

Two cells of each scenario run always, the whole table with ``-m full``.
"""

import re
from collections.abc import Iterator

import pytest

from tests.conformance.pairs import cells, coap, outbound
from tests.conformance.pairs.table import CALL_TABLE, EVENT_TABLE, NOT_APPLICABLE, Cell, Table
from tests.running import Gateway

FAULT = r"Traceback|\berror\b +hilum"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[cells.Ground]:
    directory = tmp_path_factory.mktemp("pairs")
    gateway = Gateway(directory, config=cells.CONFIG)
    server = gateway.state / "oscore" / "pairs"
    context = coap.security_context(server, directory / "context", "device:pairs")
    with gateway:
        yield cells.Ground(gateway, context)
        gateway.kill()  # a drain would wait for observers that are gone
    faults = [line for line in gateway.logged().splitlines() if re.search(FAULT, line)]
    assert not faults, "the site itself found no fault in what happened"


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with outbound.broker(tmp_path_factory.mktemp("broker")) as port:
        yield port


@pytest.fixture
def ground(site: cells.Ground, cell: Cell, request: pytest.FixtureRequest) -> cells.Ground:
    if "outbound" in cell or "broker" in cell:
        site.broker = request.getfixturevalue("broker")
    return site


def of(whole: Table) -> list[object]:
    """Return the cells of a table as parameters."""
    fast, made = set(whole.fast()), []
    for cell in whole.cells():
        marks = [] if cell in fast else [pytest.mark.full]
        made.append(pytest.param(cell, id="-".join(cell), marks=marks))
    return made


@pytest.mark.parametrize("cell", of(CALL_TABLE))
async def test_calls_between(ground, cell):
    scenario = CALL_TABLE.scenarios[cell.scenario]
    async with cells.calls(ground, cell.one, cell.other, scenario.methods) as made:
        await scenario.run(made, cell.one, cell.other)


@pytest.mark.parametrize("cell", of(EVENT_TABLE))
async def test_events_between(ground, cell):
    scenario = EVENT_TABLE.scenarios[cell.scenario]
    async with cells.events(ground, cell.one, cell.other, lasting=scenario.lasting) as made:
        await scenario.run(made, cell.one, cell.other)


@pytest.mark.parametrize("whole", [CALL_TABLE, EVENT_TABLE], ids=["calls", "events"])
class TestTheTable:
    def test_the_fast_part_has_every_scenario_and_every_protocol_on_both_sides(self, whole):
        fast = list(whole.fast())
        assert {cell.scenario for cell in fast} == set(whole.scenarios)
        assert {cell.one for cell in fast} == set(whole.ones)
        assert {cell.other for cell in fast} == set(whole.others)

    def test_what_is_moot_is_said_of_cells_that_there_would_be(self, whole):
        possible = set(_possible(whole))
        moot = possible - set(whole.cells())
        assert all(cell.reason() for cell in moot)
        assert len(moot) < len(possible) / 5


def test_every_reason_is_needed():
    every = {cell for one in (CALL_TABLE, EVENT_TABLE) for cell in _possible(one)}
    assert {why for *_, why in NOT_APPLICABLE} <= {cell.reason() for cell in every}


def _possible(whole: Table) -> Iterator[Cell]:
    for scenario in whole.scenarios:
        for one in whole.ones:
            for other in whole.others:
                yield Cell(scenario, one, other)
