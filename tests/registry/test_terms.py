"""Terms of vocabularies: what is an IRI, and the prefixes that shorten one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
