"""Endpoint URLs: one spelling, and nothing that two readers could take differently."""

import string
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.urls import InvalidUrl, parse_url, placeholders


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("http://h", "http://h:80"),
        ("HTTPS://Host.Example./a?b=c", "https://host.example:443/a?b=c"),
        ("http://10.0.0.1:/", "http://10.0.0.1:80/"),
        ("http://[::1]", "http://[::1]:80"),
        ("http://[0:0::1]:8080/x", "http://[::1]:8080/x"),
        ("http://[::ffff:10.0.0.1]/", "http://10.0.0.1:80/"),
        ("http://my_service:65535/a%20b", "http://my_service:65535/a%20b"),
        ("http://h/plans/{user}?at={time}", "http://h:80/plans/{user}?at={time}"),
    ],
)
def test_a_url_has_one_spelling(text: str, canonical: str) -> None:
    assert str(parse_url(text, template=True)) == canonical


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an absolute URL"),
        ("h/x", "not an absolute URL"),
        ("//h/x", "not an absolute URL"),
        ("ftp://h/", "the scheme 'ftp' is not supported"),
        ("http://h/#", "fragment"),
        ("http://h/#x", "fragment"),
        ("http://user@h/", "user information"),
        ("http://10.0.0.1@evil.example/", "user information"),
        ("http:///x", "the host is missing"),
        ("http://./x", "the host is missing"),
        ("http://a..b/", "not a host name"),
        ("http://-a/", "not a host name"),
        ("http://h\\@evil/", "user information"),
        ("http://h\\.evil/", "not a host name"),
        ("http://h\n/", "not a host name"),
        ("http://é.example/", "xn-- labels"),
        ("http://h%2e/", "not a host name"),
        (f"http://{'a.' * 127}aa/", "not a host name"),
        ("http://010.0.0.1/", "not an IPv4 address"),
        ("http://0x7f.1/", "not an IPv4 address"),
        ("http://2130706433/", "not an IPv4 address"),
        ("http://1.2.3.4.5/", "not an IPv4 address"),
        ("http://[::1", "closing bracket"),
        ("http://[::1]x/", "closing bracket"),
        ("http://[10.0.0.1]/", "not an IPv6 address"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://h:0/", "from 1 to 65535"),
        ("http://h:65536/", "from 1 to 65535"),
        ("http://h:8o/", "from 1 to 65535"),
        ("http://h:-1/", "from 1 to 65535"),
        ("http://h/a b", "' ' is not allowed in the path"),
        ("http://h/a\\b", "'\\\\' is not allowed in the path"),
        ("http://h/%zz", "'%' is not allowed in the path"),
        ("http://h/?a=\x7f", "is not allowed in the query"),
        ("http://h/a/../b", "'.' and '..'"),
        ("http://h/a/%2E%2e/b", "'.' and '..'"),
        ("http://h/a%2fb", "%2F"),
        ("http://h/{}", "write {argument}"),
        ("http://h/{a b}", "write {argument}"),
        ("http://h/}", "write {argument}"),
        ("http://{host}/", "not a host name"),
        (f"http://h/{'a' * 2048}", "longer than 2048"),
    ],
)
def test_other_texts_are_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidUrl) as caught:
        parse_url(text, template=True)
    assert why in str(caught.value)


def test_only_a_template_may_hold_places() -> None:
    with pytest.raises(InvalidUrl, match=r"percent-encode it$"):
        parse_url("http://h/{user}")
    assert placeholders("/a/{user}/x-{item-1}") == ["user", "item-1"]


@pytest.mark.parametrize(
    ("url", "prefix", "within", "may_reach"),
    [
        ("http://h/a/b", "http://h/a/b/", True, True),
        ("http://h/a/b", "http://h", True, True),
        ("http://h", "http://h/", True, True),
        ("http://h/%61/b", "http://h/a", True, True),
        ("http://h/ab", "http://h/a", False, False),
        ("http://h/a", "http://h/a/b", False, False),
        ("http://h/{x}/b", "http://h/a", False, True),
        ("http://h/{x}/b", "http://h/a/c", False, False),
        ("http://h/%fe", "http://h/%ff", False, False),
        ("http://h:81/a", "http://h/a", False, False),
        ("https://h/a", "http://h/a", False, False),
    ],
)
def test_prefixes_hold_by_whole_segments(
    url: str, prefix: str, within: bool, may_reach: bool
) -> None:
    template, other = parse_url(url, template=True), parse_url(prefix)
    assert (template.within(other), template.may_reach(other)) == (within, may_reach)


texts = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="htps:/@.[]%{}?#\\0123456789axAX \n-_", max_size=40).map("http://".__add__),
)


@given(texts)
def test_any_text_is_refused_or_read_as_others_read_it(text: str) -> None:
    try:
        url = parse_url(text, template=True)
    except InvalidUrl:
        return
    assert parse_url(str(url), template=True) == url
    other = urlsplit(str(url))
    assert (other.scheme, other.port, other.path, other.query) == (
        url.scheme,
        url.port,
        url.path,
        url.query,
    )
    assert other.hostname == url.host
    assert other.username is None
    assert set(str(url)) <= set(string.printable) - set(string.whitespace)
