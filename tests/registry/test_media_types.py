"""Which of some media types an Accept asks for most (RFC 9110 section 12.5.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.media_types import MAX_ACCEPT, MAX_RANGES, chosen

JSON, XML, CSV = "application/sparql-results+json", "application/sparql-results+xml", "text/csv"
OFFERED = (JSON, XML, CSV)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("nonsense", JSON),
        ("text/csv", CSV),
        ("TEXT/CSV ; q=0.5", CSV),
        ("text/*", CSV),
        ("image/png", None),
        ("image/png, */*;q=0.1", JSON),
        ("application/json", JSON),
        ("application/xml", XML),
        ("text/xml, */*;q=0.5", XML),
        ("application/*;q=0.2, text/csv;q=0.9", CSV),
        (f"{XML}, */*", XML),
        (f"*/*, {JSON};q=0", XML),
        (f"{JSON};q=0", None),
        ("application/json;q=0, */*", XML),
        (f"{JSON};q=0.5, {JSON};q=0.9, text/csv;q=0.8", JSON),
        ("text/csv;level=1;q=0.3, application/xml;q=0.2", CSV),
        ("," * MAX_RANGES + "text/csv", JSON),
        (" " * MAX_ACCEPT + "text/csv", JSON),
    ],
)
def test_the_type_that_is_wanted_most(accept, expected):
    assert chosen(accept, OFFERED) == expected


@given(st.text(st.sampled_from("text/csvjon+apli*;q=0.19, "), max_size=80))
def test_any_text_is_read(accept):
    assert chosen(accept, OFFERED) in (None, *OFFERED)
