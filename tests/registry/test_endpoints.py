"""What an endpoint registers, as a virtual object."""

import pytest

from registry.endpoints import (
    MAX_RESOURCES,
    InvalidEndpoint,
    hosted,
    location_of,
    object_name,
    object_of,
    read_base,
    read_parameters,
    terms_of,
)
from registry.link_format import parse_links
from registry.model import DirectoryEndpoint

BASE = "coap://192.0.2.1:5683"


def members(text, base=BASE):
    return [(each.member, each.url) for each in hosted(parse_links(text.encode()), base)]


def registered(text, **more):
    endpoint = DirectoryEndpoint("n", "", BASE, True, text, **more)
    name = object_name("snac.asu.edu", "n", "")
    return object_of(name, endpoint, hosted(parse_links(text.encode()), BASE))


def test_parameters_are_read():
    said = read_parameters(
        [("ep", "n"), ("d", "s"), ("lt", "60"), ("base", "COAP://[::1]"), ("et", "x")]
    )
    assert said == ("n", "s", 60, "coap://[::1]:5683", (("et", "x"),))
    assert read_parameters([]) == (None, "", None, None, ())


@pytest.mark.parametrize(
    "pairs",
    [
        [("href", "x")],
        [("a b", "x")],
        [("x", "y" * 256)],
        [("x", "\n")],
        [("ep", "a"), ("ep", "a")],
        [("ep", "")],
        [("ep", "ä" * 32)],
        [("lt", "0")],
        [("lt", "٣")],
        [("lt", "99999999999")],
        [("base", "coap://h/p")],
        [("base", "coap://h?q")],
        [("base", "mqtt://h")],
        [(f"x{n}", "") for n in range(33)],
    ],
)
def test_wrong_parameters_are_refused(pairs):
    with pytest.raises(InvalidEndpoint):
        read_parameters(pairs)


def test_a_registration_keeps_its_location():
    assert location_of("n", "s") == location_of("n", "s")
    assert len({location_of(*each) for each in (("n", "s"), ("s", "n"), ("ns", ""))}) == 3


def test_endpoints_and_sectors_have_names():
    assert object_name("a.test", "n 1", "") == "a.test/endpoints/n%201"
    assert object_name("a.test", "n", "s") == "a.test/sectors/s/n"
    for wrong in ("$n", "..", "a/b"):
        with pytest.raises(InvalidEndpoint):
            object_name("a.test", wrong, "")


def test_resources_become_members_by_their_paths():
    text = "</a/b>,</>,</q?x=1>,<coap://192.0.2.1/own>,<http://192.0.2.2/other>,</$x>"
    assert members(text) == [
        ("a:b", f"{BASE}/a/b"),
        ("root", f"{BASE}/"),
        ("q%3Fx=1", f"{BASE}/q?x=1"),
        ("own", f"{BASE}/own"),
        ("192.0.2.2:80:other", "http://192.0.2.2:80/other"),
        ("_%24x", f"{BASE}/$x"),
    ]


def test_names_that_collide_or_do_not_fit_become_digests():
    found = [member for member, _ in members(f"</a/b>,</a:b>,</a/b>,</{'x' * 120}>,</a;b>,</%00>")]
    assert found[0] == found[2] == "a:b"
    assert len(set(found)) == 5
    assert all(len(member) == 20 for member in (found[1], *found[3:]))


def test_links_to_something_else_are_information():
    text = (
        "<http://d.test/doc>;rel=describedby,</a>;rel=hosts,</b>;rel=alternate,"
        '</c>;anchor="coap://192.0.2.1/",</d>;anchor="/a",</e>;anchor="urn:x",'
        '</f>;anchor="coap://192.0.2.9/",<coaps://192.0.2.1/g>'
    )
    assert [member for member, _ in members(text)] == ["", "a", "", "c", "", "", "", ""]


@pytest.mark.parametrize(
    "text", ["<a>", "<//h/a>", "</a/../b>", "<coap://h:99999/a>", "</a#b>", "<?x>", "</a%2fb>"]
)
def test_links_that_lead_nowhere_are_refused(text):
    with pytest.raises(InvalidEndpoint):
        members(text)


def test_there_is_a_limit_of_resources():
    text = ",".join(["</a>"] * (MAX_RESOURCES + 1))
    with pytest.raises(InvalidEndpoint, match="more than"):
        members(text)


def test_an_endpoint_is_an_object():
    obj = registered(
        '</t>;rt="temp brick:Temperature_Sensor";if=core.s;obs;title=warm,</l>;obs,'
        "<http://192.0.2.1/h>;obs,</t>;rt=again,</doc>;rel=item",
        attributes=(("et", "brick:VAV"), ("x", "brick:AHU")),
    )
    http = "192.0.2.1:80:h"
    assert sorted(obj.methods) == sorted(
        ["t", "l", "l;write", "l;post", http, f"{http};write", f"{http};post"]
    )
    assert sorted(obj.channels) == ["l;observe", "t;observe"]
    assert obj.methods["t"].safe
    assert obj.methods["t"].description == "warm"
    assert obj.methods["t"].types == ("https://brickschema.org/schema/Brick#Temperature_Sensor",)
    assert obj.methods["l;write"].endpoints[0].method == "PUT"
    assert obj.channels["t;observe"].sources == (f"{BASE}/t",)
    assert obj.types == ("https://brickschema.org/schema/Brick#VAV",)


def test_terms_are_iris():
    assert terms_of(["x", "http://a.test/b", "http://a.test/b"]) == ("http://a.test/b",)


def test_a_base_has_no_path():
    assert str(read_base("coap+tcp://h.test")) == "coap+tcp://h.test:5683"
