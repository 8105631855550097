"""CoRE link format: what is read, what is refused, and that both are quick."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import link_format
from registry.link_format import InvalidLinks, Link, matches, parse_links, render_links

EXAMPLE = (
    b'</sensors/temp>;rt="temperature-c \\"c\\"";if="core.s";obs,\n'
    b' </light>;ct=41 ;title*=x,<http://x.test/doc>;rel="describedby";anchor="/light"'
)


def test_links_are_read_and_written():
    links = parse_links(EXAMPLE)
    assert [link.target for link in links] == ["/sensors/temp", "/light", "http://x.test/doc"]
    first = links[0]
    assert first.get("rt") == 'temperature-c "c"'
    assert first.values("rt") == ["temperature-c", '"c"']
    assert first.get("obs") == ""
    assert first.get("ct") is None
    assert links[1].values("ct") == ["41"]
    assert links[2].values("anchor") == ["/light"]
    assert parse_links(render_links(links)) == links


def test_nothing_is_no_links():
    assert parse_links(b"") == parse_links(b" \r\n") == ()
    assert render_links(()) == b""


@pytest.mark.parametrize(
    "text",
    [
        b"</a",
        b"</a>,",
        b",</a>",
        b"</a></b>",
        b"</a>;",
        b'</a>;rt="x',
        b"</a>;rt=",
        b'</a>;rt="\x01"',
        b"</a>;rt=x;rt=y",
        b"</a>;obs;obs",
        b"</a b>",
        b"</\xff>",
        b"<" + b"a" * 1025 + b">",
        b"</a>;x=" + b"a" * 1025,
        b"</a>" + b";x" * 33,
        b"x" * (link_format.MAX_BYTES + 1),
    ],
)
def test_what_is_no_link_is_refused(text):
    with pytest.raises(InvalidLinks):
        parse_links(text)


def test_there_is_a_limit_of_links():
    text = b",".join([b"</a>"] * 3)
    assert len(parse_links(text, limit=3)) == 3
    with pytest.raises(InvalidLinks, match="more than 2"):
        parse_links(text, limit=2)


def test_filters_may_end_in_a_star():
    assert matches("temp*", "temperature")
    assert matches("temp", "temp")
    assert not matches("temp", "temperature")


@given(st.binary(max_size=200) | st.text('<>/;,="\\ ab*\n', max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_anything_is_links_or_invalid(data):
    try:
        links = parse_links(data)
    except InvalidLinks:
        return
    assert parse_links(render_links(links)) == links


NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}\*?", fullmatch=True).filter(
    lambda name: name not in link_format.ONCE
)
VALUES = st.none() | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple))
@settings(deadline=None)
def test_what_is_written_is_read_again(attributes):
    link = Link("/a", attributes)
    assert parse_links(link.text().encode()) == (link,)


@pytest.mark.parametrize(
    "piece", [b"<", b'</a>;x="', b"</a>;x=\\", b" ", b"</a> ", b'\\"', b"</a>;"]
)
def test_hostile_links_take_no_time(piece):
    began = time.perf_counter()
    with pytest.raises(InvalidLinks):
        parse_links((piece * link_format.MAX_BYTES)[: link_format.MAX_BYTES - 1] + b"\x00")
    assert time.perf_counter() - began < 1
