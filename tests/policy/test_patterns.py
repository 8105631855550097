"""The index of patterns against asking every pattern, and its order against the words for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.patterns import PatternIndex
from registry.names import Name, Pattern


def pattern(text: str) -> Pattern:
    return Pattern.parse(text, authority="s")


def index(*texts: str) -> PatternIndex[str]:
    found: PatternIndex[str] = PatternIndex()
    for text in texts:
        found.put(pattern(text), "p", text)
    return found


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("s/a/b/m", ["a/b/m", "a/b/*", "a/b/**", "a/*/m", "a/*/*", "a/**", "*/b/m", "**"]),
        ("s/a/b", ["a/b/**", "a/**", "**"]),
        ("s/a/c/m", ["a/*/m", "a/*/*", "a/**", "**"]),
        ("s/x", ["**"]),
        ("s/$site/x", []),
    ],
)
def test_the_more_specific_pattern_comes_first(name: str, wanted: list[str]) -> None:
    texts = ["**", "a/*/*", "*/b/m", "a/**", "a/b/**", "a/b/*", "a/*/m", "a/b/m"]
    for order in (texts, texts[::-1]):
        assert list(index(*order).matching(Name(name))) == wanted


def test_of_equal_patterns_the_one_with_the_first_key_wins_whenever_it_came() -> None:
    found: PatternIndex[int] = PatternIndex()
    found.put(pattern("a/**"), "q", 1)
    found.put(pattern("a/**"), "p", 2)
    assert list(found.matching(Name("s/a/b"))) == [2, 1]
    found.remove(pattern("a/**"), "p")
    assert list(found.matching(Name("s/a/b"))) == [1]
    found.remove(pattern("a/**"), "q")
    assert list(found.matching(Name("s/a/b"))) == []


segments = st.sampled_from(["a", "b", "$c"])
names = st.lists(segments, min_size=1, max_size=4).map(lambda parts: Name("/".join(["s", *parts])))
texts = st.builds(
    lambda parts, last: "/".join([*parts, *last]),
    st.lists(st.sampled_from(["a", "b", "$c", "*"]), min_size=1, max_size=3),
    st.sampled_from([[], ["**"]]),
)
keyed = st.tuples(texts, st.sampled_from("pqr"))


@given(st.lists(keyed, unique=True), st.data(), names)
def test_the_index_finds_what_asking_every_pattern_finds(
    entries: list[tuple[str, str]], data: st.DataObject, name: Name
) -> None:
    found: PatternIndex[tuple[str, str]] = PatternIndex()
    for text, key in entries:
        found.put(pattern(text), key, (text, key))
    for entry in data.draw(
        st.lists(st.sampled_from(entries), unique=True) if entries else st.just([])
    ):
        found.remove(pattern(entry[0]), entry[1])
        entries.remove(entry)
    matching = list(found.matching(name))
    assert sorted(matching) == sorted(e for e in entries if pattern(e[0]).matches(name))
    again: PatternIndex[tuple[str, str]] = PatternIndex()
    for text, key in data.draw(st.permutations(entries)):
        again.put(pattern(text), key, (text, key))
    assert list(again.matching(name)) == matching
