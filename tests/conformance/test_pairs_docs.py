"""docs/protocols.md says what the code does: its table of statuses, and where its rules are."""

import re

import pytest

from gateway.message import WIRE, Status
from tests.conformance.pairs.table import CALLS, CLIENTS, EVENTS, NOT_APPLICABLE, PROVIDERS
from tests.support import ROOT

PAGE = (ROOT / "docs" / "protocols.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("|")
]
PLACE = re.compile(r"`((?:adapters|gateway|policy|registry)/[\w/]+\.py)` `([\w.]+)`")


def test_the_statuses_are_those_of_the_table_in_the_code():
    shown = [row for row in ROWS if len(row) == 5 and row[0].startswith("`")]
    assert shown == [
        [
            f"`{status.slug}`",
            str(wire.http),
            wire.coap,
            f"0x{wire.mqtt:02X}",
            str(wire.exit),
        ]
        for status, wire in zip(Status, WIRE, strict=True)
    ]


def test_the_tested_scenarios_and_pairs_are_those_of_the_table():
    tested = PAGE.partition("## What is tested")[2]
    assert f"| calls | {', '.join(CALLS)} |" in tested
    assert f"| events | {', '.join(EVENTS)} |" in tested
    assert f"subscribers: {', '.join(CLIENTS)};" in " ".join(tested.split())
    assert f"Providers: {', '.join(PROVIDERS)}." in " ".join(tested.split())
    whom = {"*": "any", "coap*": "coap"}
    assert [row for row in ROWS if row[0] in (*CALLS, *EVENTS)] == [
        [scenario, whom.get(one, one), whom.get(other, other), why]
        for scenario, one, other, why in NOT_APPLICABLE
    ]


def test_every_rule_names_its_place():
    for row in ROWS[: ROWS.index(["", "scenarios"])]:
        if len(row) == 5 or row[-1] == "in the code" or set(row[0]) == {"-"}:
            continue
        assert PLACE.search(row[-1]) or row[1] == "nothing", row


@pytest.mark.parametrize("place", sorted(set(PLACE.findall(PAGE))), ids=" ".join)
def test_the_places_are_there(place):
    path, name = place
    text = (ROOT / path).read_text()
    for part in name.split("."):
        assert re.search(rf"(?:def|class) {part}\b|^{part}\b.*=", text, re.MULTILINE), name
