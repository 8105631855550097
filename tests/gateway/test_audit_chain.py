"""The chain of audit records: what was done to it is found, and told apart."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.seeing import chain as audit_chain
from gateway.seeing.chain import (
    GENESIS,
    LONGEST,
    START,
    TOLD,
    Head,
    Verifier,
    clean,
    head_of,
    read,
    seal,
)


def chain(count: int, head: Head = START, salt: str = "") -> tuple[list[bytes], list[Head]]:
    lines, heads = [], []
    for number in range(count):
        line, head = seal(head, 1000 + number, {"event": "denied", "name": f"site/{number}{salt}"})
        lines.append(line)
        heads.append(head)
    return lines, heads


def verdict(lines: list[bytes], *anchors: Head) -> list[tuple[str, str]]:
    verifier = Verifier(anchors)
    for number, line in enumerate(lines, 1):
        verifier.feed(line.removesuffix(b"\n"), f"line {number}")
    return [(finding.kind, finding.where) for finding in verifier.end("folder")]


def test_a_record_is_a_line_of_json_that_carries_the_hash_before():
    lines, heads = chain(2)
    first, second = map(json.loads, lines)
    assert first["seq"] == 1
    assert first["prev"] == GENESIS
    assert second["prev"] == first["hash"] == heads[0].hash
    assert verdict(lines, *heads) == []
    assert verdict([]) == []


def test_a_changed_record_is_the_one_that_is_told():
    lines, _ = chain(5)
    lines[2] = lines[2].replace(b"site/2", b"site/9")
    assert verdict(lines) == [("changed", "line 3")]


def test_a_removed_record_is_missing_before_the_next():
    lines, _ = chain(6)
    assert verdict([*lines[:2], *lines[3:]]) == [("removed", "line 3")]
    verifier = Verifier()
    for line in (*lines[:2], *lines[4:]):
        verifier.feed(line[:-1], "here")
    assert str(verifier.end("")[0]) == "here: removed: records 3 to 4 are missing before this one"


def test_reordered_records_are_told_from_removed_ones():
    lines, _ = chain(5)
    lines[1], lines[2] = lines[2], lines[1]
    assert verdict(lines)[0] == ("reordered", "line 2")


def test_an_inserted_record_is_found_whichever_way_it_is_made():
    lines, heads = chain(4)
    forged, _ = seal(heads[1], 5, {"event": "denied"})
    assert ("inserted", "line 4") in verdict([*lines[:2], forged, *lines[2:]])
    assert verdict([*lines[:2], lines[0], *lines[2:]]) == [("inserted", "line 3")]


def test_a_record_made_anew_does_not_fit_the_next():
    lines, heads = chain(4)
    lines[1], _ = seal(heads[0], 5, {"event": "other"})
    assert verdict(lines) == [("replaced", "line 3")]


def test_only_a_head_kept_elsewhere_shows_a_tail_made_anew_or_cut():
    lines, heads = chain(4)
    other, _ = chain(2, heads[1], salt="x")
    assert verdict([*lines[:2], *other]) == []
    assert ("replaced", "line 4") in verdict([*lines[:2], *other], heads[3])
    assert verdict(lines[:2]) == []
    assert verdict(lines[:2], heads[3]) == [("truncated", "folder")]


def test_a_beginning_that_is_gone_has_to_be_told_by_a_record():
    lines, heads = chain(4)
    assert verdict(lines[2:]) == [("removed", "folder")]
    body = {"event": "pruned", "first": 3, "before": heads[1].hash}
    pruned, _ = seal(heads[3], 9, body)
    assert verdict([*lines[2:], pruned]) == []
    wrong, _ = seal(heads[3], 9, {**body, "before": GENESIS})
    assert verdict([*lines[2:], wrong]) == [("replaced", "folder")]
    nonsense, _ = seal(heads[3], 9, {**body, "first": "x"})
    assert verdict([*lines[2:], nonsense]) == [("removed", "folder")]


def test_findings_are_bounded():
    lines, _ = chain(4 * TOLD)
    verifier = Verifier()
    for line in lines[::2]:
        verifier.feed(line[:-1], "")
    for line in lines[1::2]:
        verifier.feed(line[:-1], "")
    assert len(verifier.end("")) == TOLD
    assert verifier.more > 0


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b'{"prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
        b'{"seq":0,"time":1,"prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
        b'{"seq":1,"time":true,"prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
        b'["prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
        b'"\xff","prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
        b'{"x":' + b"1" * LONGEST + b',"prev":"' + b"0" * 64 + b'","hash":"' + b"0" * 64 + b'"}',
    ],
)
def test_what_is_no_record_is_damaged(line):
    assert read(line) is None
    assert verdict([line]) == [("damaged", "line 1")]


@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_break_the_reader(data, at):
    read(data)
    line = chain(1)[0][0][:-1]
    damaged = line[:at] + data + line[at + len(data) :]
    if damaged.removesuffix(b"\n") != line:
        assert verdict([damaged]) != []


@given(
    st.dictionaries(
        st.text(max_size=20).filter(lambda key: key not in {"seq", "time", "prev", "hash"}),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=600),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
        max_size=4,
    )
)
def test_records_hold_no_control_characters(body):
    line, _ = seal(START, 1, body)
    assert line[:-1].decode().isprintable()
    record = read(line[:-1])
    assert record is not None
    assert record.intact
    assert "\n" not in json.dumps(record.body, ensure_ascii=False)


def test_text_is_cut_and_made_visible():
    assert clean("a\x1b[31mb\x00\x7f\u202e") == "a\\x1b[31mb\\x00\\x7f\\u202e"
    assert clean("x" * 1000) == "x" * audit_chain.TEXT + "…"
    assert clean({"k\n": (1, None, True, b"y")}) == {"k\\n": [1, None, True, [121]]}
    assert clean(object()).startswith("<object")


def test_a_record_that_is_too_long_says_so():
    line, _ = seal(
        START, 1, {"event": "denied", "reasons": ["x" * 500] * 32, "more": ["y" * 500] * 9}
    )
    record = read(line[:-1])
    assert record is not None
    assert record.body.keys() == {"event", "cut"}


def test_a_head_is_read_as_it_is_printed():
    assert head_of(f" {Head(3, 'ab' * 32)}\n") == Head(3, "ab" * 32)
    with pytest.raises(ValueError, match="is no head"):
        head_of("3:\x1b[m")
