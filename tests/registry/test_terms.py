"""Terms of vocabularies: what is an IRI, and the prefixes that shorten one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyoxigraph import NamedNode

from registry.terms import PREFIXES, compact, expand, is_iri


@pytest.mark.parametrize(
    ("term", "iri"),
    [
        ("brick:VAV", "https://brickschema.org/schema/Brick#VAV"),
        ("sosa:Sensor", "http://www.w3.org/ns/sosa/Sensor"),
        ("urn:uuid:0", "urn:uuid:0"),
        ("https://example.org/Pump", "https://example.org/Pump"),
        ("schema://host/x", "schema://host/x"),
    ],
)
def test_a_prefix_that_is_known_is_written_out(term: str, iri: str) -> None:
    assert expand(term) == iri


@pytest.mark.parametrize(
    "term", ["", "VAV", ":x", "1a:b", "brick:a b", "urn:<x>", "urn:", "urn:\n"]
)
def test_what_is_no_iri_is_refused(term: str) -> None:
    with pytest.raises(ValueError, match="no IRI"):
        expand(term)


@given(st.sampled_from(sorted(PREFIXES)), st.text("abcXYZ0-_", min_size=1, max_size=20))
def test_compacting_undoes_expanding(prefix: str, local: str) -> None:
    assert compact(expand(f"{prefix}:{local}")) == f"{prefix}:{local}"


def test_an_iri_without_a_known_prefix_stays() -> None:
    assert compact("urn:uuid:0") == "urn:uuid:0"
    assert compact(PREFIXES["td"]) == PREFIXES["td"]


@pytest.mark.parametrize(
    "text",
    [
        "http://a/%",
        "urn:x:a%zz",
        "urn:a|b",
        "http://[::1/",
        "http://[::g]/",
        "http://a:port/",
        "urn:\ue000",
        "urn:\ufffe",
        "http://a/#b#c",
        "http://a/[x]",
        "//a",
    ],
)
def test_what_a_store_of_triples_refuses_is_no_iri(text: str) -> None:
    assert not is_iri(text)
    with pytest.raises(ValueError, match=r"code point|encoding|character|scheme|address"):
        NamedNode(text)


@given(
    st.text("ab:/?#[]@%20é\ue000\U0002abcd |<>\\;=+$", max_size=12), st.sampled_from(["x:", "h://"])
)
def test_a_store_of_triples_takes_every_iri(text: str, start: str) -> None:
    if is_iri(start + text):
        assert NamedNode(start + text)


def test_iris_of_all_shapes() -> None:
    for text in ("http://u:p@h:1/é?q=/?#f", "http://[2001:db8::1]:80/", "tag:a,2026:b", "x:/a"):
        assert is_iri(text)


@given(st.text(max_size=60))
def test_whatever_is_expanded_is_an_iri(text: str) -> None:
    try:
        iri = expand(text)
    except ValueError:
        return
    assert is_iri(iri)


def test_an_iri_has_a_limit() -> None:
    assert is_iri("urn:" + "x" * 1020)
    assert not is_iri("urn:" + "x" * 1021)


@pytest.mark.parametrize(
    ("text", "is_one"), [("http://[::1]/x", True), ("http://[1:2]/x", False), ("urn:", False)]
)
def test_an_address_in_an_iri_is_an_address(text: str, is_one: bool) -> None:
    assert is_iri(text) is is_one
