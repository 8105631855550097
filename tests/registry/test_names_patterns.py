"""Patterns: their forms, what they match, and that nothing hostile is slow or crashes."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from registry import names
from registry.names import InvalidName, Name, Pattern

SITE = "snac.asu.edu"
ALIASES = frozenset({"localhost", "127.0.0.1"})
REMOTES = frozenset({"hospital.example"})


def parse(text: str, *, reserved: bool = False) -> Name:
    return names.parse_name(
        text, authority=SITE, aliases=ALIASES, remotes=REMOTES, reserved=reserved
    )


def pattern(text: str) -> Pattern:
    return Pattern.parse(text, authority=SITE, aliases=ALIASES, remotes=REMOTES)


def mqtt(text: str) -> Pattern:
    return Pattern.from_mqtt(text, authority=SITE, aliases=ALIASES, remotes=REMOTES)


CANONICAL_PATTERNS = [
    ("a/b", "snac.asu.edu/a/b", "snac.asu.edu/a/b", True),
    ("/a/*", "snac.asu.edu/a/*", "snac.asu.edu/a", False),
    ("**", "snac.asu.edu/**", "snac.asu.edu", False),
    ("*", "snac.asu.edu/*", "snac.asu.edu", False),
    ("localhost/**", "snac.asu.edu/**", "snac.asu.edu", False),
    ("hospital.example/a/**", "hospital.example/a/**", "hospital.example/a", False),
    ("urn:hilum:snac.asu.edu/*/b", "snac.asu.edu/*/b", "snac.asu.edu", False),
    ("$site/policy/**", "snac.asu.edu/$site/policy/**", "snac.asu.edu/$site/policy", False),
    ("a b/%2a/+", "snac.asu.edu/a%20b/%2A/%2B", "snac.asu.edu/a%20b/%2A/%2B", True),
    ("a/*/b/*/**", "snac.asu.edu/a/*/b/*/**", "snac.asu.edu/a", False),
]


@pytest.mark.parametrize(("text", "canonical", "prefix", "literal"), CANONICAL_PATTERNS)
def test_pattern_forms(text, canonical, prefix, literal):
    made = pattern(text)
    assert (made.text, made.prefix, made.literal) == (canonical, prefix, literal)
    assert str(made) == canonical
    assert made == pattern(canonical)
    assert hash(made) == hash(pattern(canonical))
    assert made != pattern("something/else")


@pytest.mark.parametrize(
    ("text", "reason", "position"),
    [
        ("ab*", r"write %2A", 2),
        ("a/*b", r"write %2A", 2),
        ("a/***", r"write %2A", 2),
        ("a/**/b", "at the end only", 2),
        ("**/**", "at the end only", 0),
        ("a//b", "empty segment", 2),
        ("", "empty segment", 0),
        ("snac.asu.edu", "names a site", 12),
        ("a/../*", "'.' and '..'", 2),
        ("a/%24x", "cannot start", 2),
        ("a/@x", "cannot start", 2),
        ("a/%zz/*", "'%' without", 2),
        ("urn:hilum:*/x", "URN's authority", 10),
        ("*/" * 3000, "1024", 1024),
        ("*/" * 600 + "a", "1024 bytes, authority included", 1024),
    ],
)
def test_pattern_refused(text, reason, position):
    with pytest.raises(InvalidName, match=reason) as caught:
        pattern(text)
    assert caught.value.position == position


MATCHES = [
    ("a/b", "a/b", True),
    ("a/b", "a/b/c", False),
    ("a/b", "A/b", False),
    ("a b", "a%20b", True),
    ("a/*", "a/b", True),
    ("a/*", "a", False),
    ("a/*", "a/b/c", False),
    ("a/*", "ab/c", False),
    ("a/*", "a/$x", False),
    ("a/*", "a/x$", True),
    ("a/**", "a", True),
    ("a/**", "a/b", True),
    ("a/**", "a/b/c", True),
    ("a/**", "ab", False),
    ("a/**", "ab/c", False),
    ("a/**", "b/a", False),
    ("a/**", "a/$x", False),
    ("a/**", "a/b/$x/c", False),
    ("**", "a", True),
    ("**", "a/b/c", True),
    ("**", "$site/policy/apply", False),
    ("*/**", "$site/policy/apply", False),
    ("*/policy/apply", "$site/policy/apply", False),
    ("*/$x", "a/$x", True),
    ("*/$x", "a/b", False),
    ("$site/**", "$site/policy/apply", True),
    ("$site/**", "$site", True),
    ("$site/**", "$site/$x", False),
    ("$site/policy/*", "$site/policy/apply", True),
    ("$site/policy/*", "$site/token/issue", False),
    ("*/b", "a/b", True),
    ("*/b", "a/c", False),
    ("*/b", "a/b/c", False),
    ("*/b/**", "a/b", True),
    ("*/b/**", "a/b/c/d", True),
    ("*/b/**", "a/b/c/$d", False),
    ("*/b/**", "a", False),
    ("a/*/c/*", "a/b/c/d", True),
    ("a/*/c/*", "ab/c/d/e", False),
    ("a/*/**", "a", False),
    ("a/*/**", "a/b", True),
    ("hospital.example/**", "a", False),
    ("hospital.example/**", "hospital.example/a", True),
    ("**", "hospital.example/a", False),
    ("%2A", "b", False),
    ("%2A", "%2A", True),
]


@pytest.mark.parametrize(("text", "name", "expected"), MATCHES)
def test_matches(text, name, expected):
    assert pattern(text).matches(parse(name, reserved=True)) is expected


def test_no_pattern_matches_a_bare_authority():
    assert not pattern("*").matches("snac.asu.edu")
    assert not pattern("*/**").matches("snac.asu.edu")


@pytest.mark.parametrize(
    ("topic", "canonical"),
    [
        ("a/+/b", "snac.asu.edu/a/*/b"),
        ("#", "snac.asu.edu/**"),
        ("a/#", "snac.asu.edu/a/**"),
        ("localhost/+/#", "snac.asu.edu/*/**"),
        ("a/*", "snac.asu.edu/a/%2A"),
        ("a/%2B", "snac.asu.edu/a/%2B"),
        ("$site/+", "snac.asu.edu/$site/*"),
        ("a b", "snac.asu.edu/a%20b"),
    ],
)
def test_mqtt_filters(topic, canonical):
    assert mqtt(topic).text == canonical
    assert mqtt(topic) == pattern(canonical)


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("a/#/b", "'#' stands at the end only; use '\\+'"),
        ("a+", "'\\+' must be a whole segment"),
        ("a/b#", "'#' must be a whole segment.*%23"),
        ("++", "write %2B"),
        ("a//#", "empty segment"),
    ],
)
def test_mqtt_filters_refused(topic, reason):
    with pytest.raises(InvalidName, match=reason):
        mqtt(topic)


hostile = st.text(alphabet=st.sampled_from("/%.$@a24fF\0*+#:~ \xe9"), max_size=30)


@settings(max_examples=500)
@given(hostile, st.booleans())
def test_any_text_is_a_pattern_or_invalid(text, is_mqtt):
    try:
        made = mqtt(text) if is_mqtt else pattern(text)
    except InvalidName:
        return
    assert pattern(made.text) == made
    assert made.text.startswith(made.prefix)


words = st.sampled_from(["a", "b", "c", "$r"])
pattern_words = st.lists(st.one_of(words, st.just("*")), max_size=4)


def reference(want: list[str], got: list[str]) -> bool:
    """Pattern matching by definition, slow and plain."""
    if want == ["**"]:
        return not any(part.startswith("$") for part in got)
    if not want or not got:
        return want == got
    same = want[0] == got[0] or (want[0] == "*" and not got[0].startswith("$"))
    return same and reference(want[1:], got[1:])


@settings(max_examples=1000)
@given(pattern_words, st.booleans(), st.lists(words, min_size=1, max_size=5))
def test_matching_equals_its_definition(want, is_open, got):
    want = [*want, "**"] if is_open or not want else want
    name = parse("/".join(got), reserved=True)
    assert pattern("/".join(want)).matches(name) is reference(want, got)


def test_matching_takes_linear_time():
    made = pattern("*/" * 400 + "x")
    name = parse("/".join(["a"] * 400 + ["y"]))
    begin = time.process_time()
    for _ in range(100):
        assert not made.matches(name)
    assert time.process_time() - begin < 1.0
