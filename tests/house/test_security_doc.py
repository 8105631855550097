"""docs/security.md names tests; each of them exists, so that no row shows what nobody tests."""

import re

import pytest

from tests.support import ROOT

DOCUMENT = (ROOT / "docs/security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DOCUMENT)))
ROWS = (
    "Data leakage",
    "Spoofing/identity modification",
    "Energy/resource bleeding",
    "Service disruption",
    "Network function disruption: SYN flood, ACK spoofing",
    "Network function disruption: smurf",
)
"""The attack types of S0's table 1."""


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_is_there(path, name):
    text = (ROOT / path).read_text()
    assert not name or re.search(rf"^(?:async )?def {name}\(", text, re.MULTILINE), name


@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_attack_table_has_a_test_or_says_why_not(row):
    (line,) = [line for line in DOCUMENT.splitlines() if line.startswith(f"| {row}")]
    assert "`tests/" in line or "not a gateway's" in line
