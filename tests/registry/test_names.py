"""Names: what is accepted, what is refused, and that there is one spelling of each."""

import pickle
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from registry import names
from registry.names import InvalidName, Name, Pattern

SITE = "snac.asu.edu"
ALIASES = frozenset({"localhost", "127.0.0.1"})
REMOTES = frozenset({"hospital.example"})
ALLOWED = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:,;=@%")


def parse(text: str, *, reserved: bool = False) -> Name:
    return names.parse_name(
        text, authority=SITE, aliases=ALIASES, remotes=REMOTES, reserved=reserved
    )


def pattern(text: str) -> Pattern:
    return Pattern.parse(text, authority=SITE, aliases=ALIASES, remotes=REMOTES)


ACCEPTED = [
    ("plan", "snac.asu.edu/plan"),
    ("/plan", "snac.asu.edu/plan"),
    ("a/b/c", "snac.asu.edu/a/b/c"),
    ("snac.asu.edu/a", "snac.asu.edu/a"),
    ("/snac.asu.edu/a", "snac.asu.edu/a"),
    ("SNAC.ASU.EDU/a", "snac.asu.edu/a"),
    ("snac%2Easu.edu/a", "snac.asu.edu/a"),
    ("localhost/a", "snac.asu.edu/a"),
    ("LocalHost/a", "snac.asu.edu/a"),
    ("127.0.0.1/a", "snac.asu.edu/a"),
    ("hospital.example/a", "hospital.example/a"),
    ("Hospital.Example/A", "hospital.example/A"),
    ("other.example/a", "snac.asu.edu/other.example/a"),
    ("snac.asu.edu/localhost/a", "snac.asu.edu/localhost/a"),
    ("snac.asu.edu/snac.asu.edu/a", "snac.asu.edu/snac.asu.edu/a"),
    ("urn:hilum:snac.asu.edu/a/b", "snac.asu.edu/a/b"),
    ("URN:Hilum:Localhost/a/b", "snac.asu.edu/a/b"),
    ("/urn:hilum:hospital.example/a", "hospital.example/a"),
    ("urn:other:x/a", "snac.asu.edu/urn:other:x/a"),
    ("Case/case", "snac.asu.edu/Case/case"),
    ("a:b,c;d=e~f@g/-._~", "snac.asu.edu/a:b,c;d=e~f@g/-._~"),
    ("a%3ab%2Cc%7E", "snac.asu.edu/a:b,c~"),
    ("%41%62", "snac.asu.edu/Ab"),
    ("a b", "snac.asu.edu/a%20b"),
    ("a%20b", "snac.asu.edu/a%20b"),
    ("a*b+c#d?e>f", "snac.asu.edu/a%2Ab%2Bc%23d%3Fe%3Ef"),
    ("*/**", "snac.asu.edu/%2A/%2A%2A"),
    ("a%2541", "snac.asu.edu/a%2541"),
    ("a\tb\x7f\x01", "snac.asu.edu/a%09b%7F%01"),
    ("a\\b", "snac.asu.edu/a%5Cb"),
    ("größe", "snac.asu.edu/gr%C3%B6%C3%9Fe"),
    ("gr%c3%b6%C3%9fe", "snac.asu.edu/gr%C3%B6%C3%9Fe"),
    ("🫀", "snac.asu.edu/%F0%9F%AB%80"),
    ("a$b", "snac.asu.edu/a%24b"),
    ("a%24b", "snac.asu.edu/a%24b"),
    ("a@", "snac.asu.edu/a@"),
    ("...", "snac.asu.edu/..."),
    (".a/..b/c..", "snac.asu.edu/.a/..b/c.."),
    (".well-known/x", "snac.asu.edu/.well-known/x"),
    ("device/6F96-d011", "snac.asu.edu/device/6F96-d011"),
    ("s" * 255, "snac.asu.edu/" + "s" * 255),
    ("%73" * 255, "snac.asu.edu/" + "s" * 255),
    ("ü" * 127, "snac.asu.edu/" + "%C3%BC" * 127),
]

REFUSED = [
    ("", "empty segment", 0),
    ("/", "empty segment", 1),
    ("//a", "empty segment", 1),
    ("a//b", "empty segment", 2),
    ("a/", "empty segment", 2),
    ("snac.asu.edu", "names a site", 12),
    ("localhost", "names a site", 9),
    ("hospital.example", "names a site", 16),
    ("urn:hilum:snac.asu.edu", "names a site", 22),
    ("urn:hilum:", "empty segment", 10),
    ("urn:hilum:other.example/a", "URN's authority", 10),
    ("/urn:hilum:other.example/a", "URN's authority", 11),
    (".", "'.' and '..'", 0),
    ("a/..", "'.' and '..'", 2),
    ("a/./b", "'.' and '..'", 2),
    ("%2e", "'.' and '..'", 0),
    ("a/%2E%2e/b", "'.' and '..'", 2),
    ("a/.%2e/b", "'.' and '..'", 2),
    ("$site", "cannot start with '$'", 0),
    ("a/$x", "cannot start with '$'", 2),
    ("a/%24x", "cannot start with '$'", 2),
    ("@a", "cannot start with '@'", 0),
    ("a/%40x", "cannot start with '@'", 2),
    ("a%2Fb", "'/' or NUL", 0),
    ("x/a%2fb", "'/' or NUL", 2),
    ("a%00b", "'/' or NUL", 0),
    ("a\0b", "'/' or NUL", 0),
    ("ab%", "'%' without", 2),
    ("a/b%4", "'%' without", 3),
    ("a/b%4g", "'%' without", 3),
    ("a/b%%41", "'%' without", 3),
    ("%u0041", "'%' without", 0),
    ("%FF", "not UTF-8", 0),
    ("a/%C3", "not UTF-8", 2),
    ("a/%C0%AF", "not UTF-8", 2),
    ("a/%C0%AE", "not UTF-8", 2),
    ("a/%ED%A0%80", "not UTF-8", 2),
    ("a/%F8%88%80%80%80", "not UTF-8", 2),
    ("a/\ud800", "not UTF-8", 2),
    ("s" * 256, "at most 255 bytes", 0),
    ("ü" * 128, "at most 255 bytes", 0),
    ("/".join(["s" * 200] * 6), "at most 1024 bytes", 1024),
    ("/".join(["ü" * 100] * 2), "at most 1024 bytes", 1024),
    ("a" * 5000, "at most 1024 bytes", 1024),
]


@pytest.mark.parametrize(("text", "canonical"), ACCEPTED)
def test_accepted(text, canonical):
    name = parse(text)
    assert name == canonical
    assert parse(name) == name
    assert parse(names.urn(name)) == name
    assert parse("/" + name) == name


@pytest.mark.parametrize(("text", "reason", "position"), REFUSED)
def test_refused(text, reason, position):
    with pytest.raises(InvalidName) as caught:
        parse(text)
    assert reason in caught.value.reason
    assert caught.value.position == position


def test_longest_name_is_accepted_and_one_more_byte_is_not():
    room = 1024 - len(SITE) - 1
    path = "/".join(["s" * 255] * 3) + "/"
    path += "s" * (room - len(path))
    assert len(parse(path)) == 1024
    with pytest.raises(InvalidName):
        parse(path + "s")


def test_an_alias_does_not_count_in_the_length():
    alias = "x." * 126 + "y"
    path = "/".join(["%73" * 255] * 3 + ["%73" * 240])
    name = names.parse_name(f"{alias}/{path}", authority="a.b", aliases={alias})
    assert name.startswith("a.b/sss")


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("$site/registry/register", "snac.asu.edu/$site/registry/register"),
        ("localhost/$site/policy", "snac.asu.edu/$site/policy"),
        ("urn:hilum:snac.asu.edu/$site", "snac.asu.edu/$site"),
        ("hospital.example/$site/x", "hospital.example/$site/x"),
        ("a/$x y$", "snac.asu.edu/a/$x%20y%24"),
        ("$" + "s" * 254, "snac.asu.edu/$" + "s" * 254),
    ],
)
def test_reserved_segments_where_they_are_permitted(text, canonical):
    name = parse(text, reserved=True)
    assert name == canonical
    assert parse(name, reserved=True) == name
    assert names.is_reserved(name)
    with pytest.raises(InvalidName):
        parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("%24site/x", "cannot start with '$'"),
        ("$", "name it after $"),
        ("@x", "cannot start with '@'"),
        ("$a%2Fb", "'/' or NUL"),
        ("$" + "s" * 255, "at most 255"),
    ],
)
def test_reserved_segments_are_literal(text, reason):
    with pytest.raises(InvalidName, match=reason.replace("$", r"\$")):
        parse(text, reserved=True)


def test_message_says_what_where_and_what_to_do():
    with pytest.raises(InvalidName) as caught:
        parse("a//b\x1b[31m")
    assert str(caught.value) == (
        "invalid name 'a//b\\x1b[31m' at character 3: empty segment; name it, or remove a slash"
    )
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.text, again.reason, again.position) == (
        caught.value.text,
        caught.value.reason,
        2,
    )
    with pytest.raises(InvalidName) as caught:
        parse("a" * 5000)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("localhost", "localhost"),
        ("SNAC.asu.EDU", "snac.asu.edu"),
        ("127.0.0.1", "127.0.0.1"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a" * 63 + ".b", "a" * 63 + ".b"),
        ("a-b.c--d", "a-b.c--d"),
    ],
)
def test_authority(text, authority):
    assert names.parse_authority(text) == authority


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", 0),
        (".", 0),
        ("a.", 2),
        ("a..b", 2),
        ("-a.b", 0),
        ("b.a-", 2),
        ("a_b", 0),
        ("a.b:8080", 2),
        ("http://a.b", 0),
        ("a/b", 0),
        ("bücher.example", 0),
        ("\N{KELVIN SIGN}.example", 0),
        ("a\n", 0),
        ("a" * 64, 0),
        (".".join(["a" * 50] * 6), None),
    ],
)
def test_bad_authority(text, position):
    with pytest.raises(InvalidName, match="authority") as caught:
        names.parse_authority(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hospital.example/a", "belongs to the site hospital.example"),
        ("snac.asu.edu/snac.asu.edu/a", "authority or alias"),
        ("snac.asu.edu/SNAC.asu.edu", "authority or alias"),
        ("snac.asu.edu/localhost/a", "authority or alias"),
        ("snac.asu.edu/Hospital.Example/a", "authority or alias"),
        (".well-known/wot", "belongs to HTTP"),
        (".Well-Known", "belongs to HTTP"),
        ("snac.asu.edu/urn:hilum:x/a", "read as a URN"),
        ("$site/registry", "site's own"),
        ("a/$x", "site's own"),
    ],
)
def test_not_registrable(text, reason):
    with pytest.raises(InvalidName, match=reason):
        names.check_registrable(parse(text, reserved=True), SITE, ALIASES, REMOTES)


@pytest.mark.parametrize("text", ["a", "a/localhost", "a/.well-known", "other.example/a", "urn:x"])
def test_registrable_names_are_reachable_without_their_authority(text):
    name = parse(text)
    names.check_registrable(name, SITE, ALIASES, REMOTES)
    assert parse("/".join(names.segments(name))) == name


def test_parts():
    name = parse("Plan/plan 1/checkGoal")
    assert names.authority_of(name) == SITE
    assert names.segments(name) == ("Plan", "plan%201", "checkGoal")
    assert names.member(name) == "checkGoal"
    assert names.parent(name) == "snac.asu.edu/Plan/plan%201"
    assert names.parent(parse("Plan")) is None
    assert names.urn(name) == "urn:hilum:snac.asu.edu/Plan/plan%201/checkGoal"
    assert names.decoded("plan%201") == "plan 1"
    assert names.decoded("$site") == "$site"
    assert not names.is_reserved(name)


def test_join_takes_plain_text():
    name = parse("Plan")
    assert names.join(name) == name
    assert names.join(name, "50 %20", "a:b") == "snac.asu.edu/Plan/50%20%2520/a:b"
    for bad in ("", ".", "..", "a/b", "a\0", "$x", "@x", "\ud800", "s" * 256):
        with pytest.raises(InvalidName):
            names.join(name, bad)
    with pytest.raises(InvalidName, match="1024"):
        names.join(name, *["s" * 255] * 4)


def test_near_names():
    siblings = [f"snac.asu.edu/Plan/{m}" for m in ("checkGoal", "getRecommendation", "createPlan")]
    assert names.near("snac.asu.edu/Plan/checkGaol", siblings) == [siblings[0]]
    assert names.near("snac.asu.edu/Plan/CREATEPLAN", siblings) == [siblings[2]]
    assert names.near("snac.asu.edu/Plan/zzz", siblings) == []
    assert names.near("x", []) == []
    assert names.near("", ["", "a"]) == [""]
    assert len(names.near("plan1", [f"plan{i}" for i in range(50)])) == 3
    assert names.near("plan1", [f"plan{i}" for i in range(50)], limit=1) == ["plan1"]
    assert names.near("last", [*(f"{i:04}" for i in range(1000)), "last"]) == []


def test_near_is_bounded_for_hostile_names():
    begin = time.process_time()
    names.near("a" * 1024, ["a" * n for n in range(1000)])
    names.near("ab" * 512, (f"{'ab' * 500}{n}" for n in range(10**9)))
    assert time.process_time() - begin < 1.0


# Properties

raw_segments = st.text(min_size=1, max_size=8).filter(
    lambda text: text not in {".", ".."} and text[0] not in "$@" and not set(text) & {"/", "\0"}
)


@st.composite
def spellings(draw):
    """A name's plain segments and one of the many ways in which its text may be encoded."""
    plain = draw(st.lists(raw_segments, min_size=1, max_size=5))
    text = []
    for segment in plain:
        for character in segment:
            escape = character == "%" or draw(st.booleans())
            encoded = "".join(f"%{byte:02x}" for byte in character.encode())
            text.append(encoded if escape else character)
        text.append("/")
    return plain, "".join(text[:-1])


@settings(max_examples=200)
@given(spellings())
def test_all_spellings_of_a_name_give_one_canonical_form(spelling):
    plain, text = spelling
    full = parse(f"{SITE}/{text}")
    assert full == names.join(parse("x"), *plain).replace("/x/", "/", 1)
    assert [names.decoded(segment) for segment in names.segments(full)] == plain
    assert parse(full) == full
    assert parse(names.urn(full)) == full
    assert pattern(full).matches(full)
    assert pattern(full).literal


def check_canonical(name: Name) -> None:
    assert parse(name) == name
    assert parse(names.urn(name)) == name
    assert pattern(name).matches(name)
    assert pattern("snac.asu.edu/**").matches(name) is name.startswith(SITE)
    owner, *rest = name.split("/")
    assert owner in {SITE, *REMOTES}
    assert rest
    assert len(name) <= 1024
    for segment in rest:
        assert set(segment) <= ALLOWED
        assert segment[0] not in "$@"
        plain = names.decoded(segment)
        assert 0 < len(plain.encode()) <= 255
        assert plain not in {".", ".."}
        assert plain[0] not in "$@"
        assert not set(plain) & {"/", "\0"}
        assert quote(plain, safe=":,;=~@") == segment
        assert names.encode_segment(plain) == segment


hostile = st.text(alphabet=st.sampled_from("/%.$@aA24fF0\0*+#:~ \xe9"), max_size=30)


@settings(max_examples=1000)
@given(
    st.one_of(
        st.text(max_size=40), hostile, st.binary(max_size=40).map(lambda b: b.decode("latin-1"))
    )
)
@example("%")
@example("urn:hilum:")
def test_any_text_is_a_canonical_name_or_invalid(text):
    try:
        name = parse(text)
    except InvalidName as invalid:
        error = invalid
    else:
        check_canonical(name)
        return
    assert error.reason
    assert str(error).isprintable()
