"""Patterns of schemas: those accepted are matched in linear time, the others are explained."""

import re
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from registry.regex import UnsafePattern, check_pattern, compile_pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "^$",
        "abc",
        "^a+$",
        "^(a|b)*$",
        "^(?:a|b)+c?$",
        r"^[0-9]+(\.[0-9]+)*$",
        r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?Z)?$",
        r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        "^[^@]+@[^@]+$",
        "^foo|^bar$",
        "^foo(bar)?$",
        r"^[\w.-]+$",
        r"^\[[^\]]+\]$",
        r"^[\s\S]*$",
        r"\u0041\x42\n\t\0\/",
        "^a{2,}$",
        "^[a-]$",
        "^(ab){3}a$",
        "^[é-ü]+$",
        "^.{1,64}$",
        "^(|a)$",
        "^[^\x00-\x1f]+$",
        "^[^a-\U0010ffff]+$",
    ],
)
def test_patterns_of_everyday_use_are_accepted(pattern: str) -> None:
    check_pattern(pattern)
    compile_pattern(pattern)


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("^a+$", ["a", "aa"], ["a\n", "ba", ""]),
        ("b(cd)?", ["abc", "xbcdx"], ["acd"]),
        (r"^\d+$", ["09"], ["\u0663"]),
        (r"^\w+$", ["a_9"], ["\u00e9"]),
        (r"^\s$", [" ", "\u00a0", "\ufeff"], ["a", "\x1c"]),
        (r"^\S$", ["a", "\x1c"], [" ", "\u00a0"]),
        ("^.$", ["a", "\u00e9", "\U0001f600"], ["\n", "\r", "\u2028"]),
        (r"^[^a-c\]]$", ["d", "["], ["b", "]"]),
        (r"^(-[0-9a-f]{2}){3}\.$", ["-0a-0b-0c."], ["-0a-0b."]),
        (r"^[\u0041-C]{2,3}$", ["AB", "ABC"], ["A", "ABCA"]),
        ("^a|^b$", ["ax", "b"], ["bx", "xa"]),
        (r"^\x24[$]\/$", ["$$/"], []),
    ],
)
def test_a_pattern_means_what_ecma_262_says(
    pattern: str, matched: list[str], others: list[str]
) -> None:
    compiled = compile_pattern(pattern)
    assert all(compiled.search(text) for text in matched)
    assert not any(compiled.search(text) for text in others)


AMBIGUOUS = "could read"


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("^(a+)+$", AMBIGUOUS),
        ("^(a|a)*$", AMBIGUOUS),
        ("^(a|ab)*$", AMBIGUOUS),
        ("^(.|b)*$", AMBIGUOUS),
        ("^a*a*$", AMBIGUOUS),
        ("^a?a?aa$", AMBIGUOUS),
        ("^.*foo$", AMBIGUOUS),
        ("^(.*,){11}x$", AMBIGUOUS),
        ("foo|foobar", AMBIGUOUS),
        (r"^\w+[0-9]$", AMBIGUOUS),
        ("^(ab+){3}b", AMBIGUOUS),
        ("^(a+){3}$", AMBIGUOUS),
        ("^" + "(" * 12 + "ab" + "){2}" * 12, "too many parts"),
        ("^" + "(" * 20 + "a" + ")+" * 20, AMBIGUOUS),
        ("a+", "must begin with '^'"),
        ("^a+|b+", "must begin with '^'"),
        ("^(a?)*$", "may be empty"),
        ("^(a?)?(b?)?$", "may be empty"),
        ("^(|a|)$", "may be empty"),
        ("^a{0}$", "may be empty"),
        (r"^(a)\1$", "escape"),
        (r"^a\b", "escape"),
        (r"^\p{L}$", "escape"),
        ("^a\\", "escape"),
        ("^(?=a)", "lookaround"),
        ("^(?!a)", "lookaround"),
        ("^(?<=a)", "lookaround"),
        ("^(?P<n>a)", "lookaround"),
        ("^(?i)a", "lookaround"),
        ("^a**", "second repetition"),
        ("^a+?", "second repetition"),
        ("^a{2}{3}", "second repetition"),
        ("*a", "nothing to repeat"),
        ("^{2}", "nothing to repeat"),
        ("^a{3,2}", "counts up"),
        ("^a{1001}", "counts up"),
        ("^a{1,1001}", "counts up"),
        ("^a{x}", "begins no repetition"),
        ("^[z-a]$", "a range goes"),
        (r"^[a-\d]$", "a range goes"),
        (r"^[\d-z]$", "a range goes"),
        ("^[]$", "empty class"),
        ("^[a", "without its ']'"),
        ("^[a-", "without its ']'"),
        ("^[[]", "within a class"),
        ("(", "without its ')'"),
        ("a)", "without its '('"),
        ("a^", "end of the pattern only"),
        ("(a$)", "end of the pattern only"),
        ("a$b", "at the end only"),
        ("(" * 40 + ")" * 40, "nested too deeply"),
        ("a" * 257, "longer than 256"),
    ],
)
def test_others_are_refused_with_the_reason(pattern: str, why: str) -> None:
    with pytest.raises(UnsafePattern) as caught:
        check_pattern(pattern)
    assert why in str(caught.value)


atoms = st.sampled_from(["a", "b", "[ab]", "[^a]", ".", r"\d", "c"])
parts = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,3}", "{2,}"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
        atoms.map(lambda atom: f"{atom}*"),
    ),
    max_leaves=8,
)


@given(parts, st.text(alphabet="ab1!", min_size=1, max_size=3))
def test_what_is_accepted_never_explodes(part: str, seed: str) -> None:
    pattern = f"^{part}$"
    try:
        check_pattern(pattern)
    except UnsafePattern:
        assume(False)
    compiled = compile_pattern(pattern)
    # This alphabet means the same to both engines, so Python's own reading is an oracle.
    for text in (seed, seed * 2, seed[0] * 5):
        assert bool(compiled.search(text)) is bool(re.search(pattern, text))
    begun = time.process_time()
    for repeats in (30, 3000):
        compiled.search(seed * repeats + "!")
        compiled.search(seed[0] * repeats + "\n!")
    assert time.process_time() - begun < 0.5


@given(
    st.one_of(st.text(max_size=40), st.text(alphabet="ab()[]{}|*+?^$\\.-,:!=<>01dwx", max_size=40))
)
def test_any_text_is_accepted_or_refused(pattern: str) -> None:
    try:
        check_pattern(pattern)
    except UnsafePattern:
        return
    compile_pattern(pattern)


def test_the_check_itself_is_fast() -> None:
    letters = [chr(0x4E00 + i) for i in range(250)]
    begun = time.process_time()
    for pattern in (
        "^" + "?".join(letters[:125]),
        "^(" + "|".join(letters[:125]) + ")*",
        "^" + "(" * 30 + "|".join(letters[:80]) + ")+" * 30,
        "^" + r"\W?\w?" * 40,
    ):
        try:
            check_pattern(pattern)
        except UnsafePattern as error:
            assert AMBIGUOUS in str(error)  # noqa: PT017
    assert time.process_time() - begun < 0.5
