"""docs/protocols.md says what the code does: its table of statuses, and where its rules are."""

import re

import pytest

from gateway.message import WIRE, Status
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


def test_every_rule_names_its_place():
    for row in ROWS:
        if len(row) == 5 or row[-1] == "in the code" or set(row[0]) == {"-"}:
            continue
        assert PLACE.search(row[-1]) or row[1] == "nothing", row


@pytest.mark.parametrize("place", sorted(set(PLACE.findall(PAGE))), ids=" ".join)
def test_the_places_are_there(place):
    path, name = place
    text = (ROOT / path).read_text()
    for part in name.split("."):
        assert re.search(rf"(?:def|class) {part}\b|^{part}\b.*=", text, re.MULTILINE), name
