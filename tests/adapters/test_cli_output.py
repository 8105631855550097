"""What the command line prints, without a site: YAML, tables, durations, escapes."""

import io
import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from ruamel.yaml import YAML

from adapters.cli import output
from adapters.cli.output import Format, printable, show
from adapters.cli.policies import summary
from adapters.cli.tokens import duration
from adapters.cli.yaml import to_yaml
from adapters.client import Problem

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_yaml_reads_back_as_the_same_values(value):
    assert YAML(typ="safe", pure=True).load(io.StringIO(to_yaml(value))) == value


def test_yaml_is_what_people_write():
    document = {
        "kind": "AccessPolicy",
        "spec": {"names": ["plans/**", "$site/registry/list"], "actions": [], "on": "no", "x": 1.5},
        "subjects": [{"kind": "service", "principal": "user:ann"}, {"kind": "*"}],
    }
    assert (
        to_yaml(document)
        == """\
kind: AccessPolicy
spec:
  names:
  - "plans/**"
  - $site/registry/list
  actions: []
  "on": "no"
  x: 1.5
subjects:
- kind: service
  principal: "user:ann"
- kind: "*"
"""
    )


@given(st.text())
def test_nothing_that_is_printed_moves_a_terminal(text):
    shown = printable(text)
    assert shown.isprintable()
    assert printable(text, lines=True).replace("\n", "").replace("\t", "").isprintable()


@pytest.mark.parametrize(("name", "whole"), [("n" * 40, True), ("n" * 41, False)])
def test_on_a_terminal_names_stay_whole_that_leave_room_for_the_rest(
    capsys, monkeypatch, name, whole
):
    monkeypatch.setattr(output, "Console", partial(Console, force_terminal=True, width=80))
    output.table(["name", "what"], [[name, "words " * 20]])
    assert (name in capsys.readouterr().out) is whole


def test_a_table_that_is_no_terminal_has_aligned_columns(capsys):
    show(Format.TABLE, None, ("name", "live"), [["a/long/name", True], ["b\x1b[2J", ""]])
    assert capsys.readouterr().out == "NAME         LIVE\na/long/name  yes\nb\\x1b[2J     -\n"


def test_a_table_without_rows_says_so_beside_the_result(capsys):
    show(Format.TABLE, {"items": []}, ("name",), [])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nothing" in captured.err


def test_programs_get_the_whole_document(capsys):
    document = {"items": [{"name": "ä", "more": 1}]}
    show(Format.JSON, document, ("name",), [["ä"]])
    assert json.loads(capsys.readouterr().out) == document


def test_a_reply_for_a_pipe_is_not_touched(capsysbinary):
    output.raw(b"\x00\xff\x1b")
    assert capsysbinary.readouterr().out == b"\x00\xff\x1b"


@pytest.mark.parametrize(
    ("kind", "spec", "says"),
    [
        ("TopicSpace", {"names": ["h/**"]}, "whoever may uses h/** without registering"),
        ("Binding", {"name": "h/t", "source": "mqtt://b/t"}, "h/t <- mqtt://b/t"),
        ("ResolutionPolicy", {"names": ["h/m"]}, "h/m -> any"),
    ],
)
def test_a_policy_in_a_line(kind, spec, says):
    assert summary(kind, spec) == says


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)],
)
def test_durations(text, seconds):
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1w", "-1s", "1.5h", "1 h", "9999999999s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(Problem):
        duration(text)
