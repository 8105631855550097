"""``docs/conformance*.md`` is true: its rows and the tests' marks say the same."""

import re

import pytest

from tests.conformance import tables

NOT_TESTED = ("not met: ", "does not arise: ")
CHAPTER = re.compile(r"MQTT-\d")


def every_row():
    return [row for path in tables.documents() for row in tables.rows(path.read_text())]


def test_every_marked_clause_has_a_row():
    assert set(tables.marked()) <= {row["clause"] for row in every_row()}


def test_no_clause_has_two_rows():
    clauses = [row["clause"] for row in every_row()]
    assert sorted(clauses) == sorted(set(clauses))


@pytest.mark.parametrize("path", tables.documents(), ids=lambda path: path.name)
def test_every_row_names_the_tests_that_there_are(path):
    """Renamed a test? ``python -m tests.conformance.tables`` writes them anew."""
    found = tables.marked()
    for row in tables.rows(path.read_text()):
        tests = found.get(row["clause"])
        if tests is None:
            assert row["tests"].startswith(NOT_TESTED), f"{row['clause']} is covered by no test"
        else:
            assert row["tests"] == tables.listed(tests), row["clause"]


@pytest.mark.parametrize("path", tables.documents(), ids=lambda path: path.name)
def test_every_line_of_a_table_is_a_row(path):
    """So that a misspelt row is not just overlooked."""
    for line in path.read_text().splitlines():
        if re.match(r"\| (MQTT|RFC|WOT)", line):
            assert tables.ROW.match(line), line


def test_the_table_of_mqtt_5_is_complete():
    """About 240 statements in appendix B; those that bind clients only are named in the text."""
    rows = [row for row in every_row() if CHAPTER.match(row["clause"])]
    assert len(rows) > 200
