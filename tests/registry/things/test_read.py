"""Reading descriptions: what is refused, and that every error is told with its pointer."""

import json
import time

import pytest

from registry.things.contexts import DISCOVERY, TD_1_0, TD_1_1
from registry.things.document import MAX_BYTES, read
from registry.things.problems import InvalidThing
from tests.registry.things.examples import encoded, thing, viewed


def problems(document: object, **settings: bool) -> dict[str, str]:
    data = document if isinstance(document, bytes) else encoded(document)
    with pytest.raises(InvalidThing) as caught:
        read(data, **settings)
    assert str(caught.value)
    return {each.pointer: each.message for each in caught.value.problems}


def test_the_text_is_kept_verbatim():
    text = '{"title":"Lamp",\n  "@context": "https://www.w3.org/2022/wot/td/v1.1", "x:y": 1e2,'
    text += '"security":["n"],"securityDefinitions":{"n":{"scheme":"nosec"}}}'
    one = read(text.encode())
    assert (one.text, one.id, one.title, one.warnings) == (text, "", "Lamp", [])


def test_every_error_is_told():
    document = thing(
        **{"@type": 3},
        id="no iri",
        title=7,
        security=["basic"],
        securityDefinitions={"none": {"scheme": "magic", "password": "geheim"}},
        properties={"a/b": {"forms": [{"href": "on", "op": "invokeaction"}], "type": "text"}},
        actions={"go": {"forms": []}, "a.b[0]": {"forms": [{"op": []}]}},
        events={"e": {}, "{f}": {"forms": {}}, "a.b": {"forms": [3]}},
        created="yesterday",
        version={},
    )
    assert problems(document) == {
        "/@type": "it must be of the type string or array",
        "/title": "it must be of the type string",
        "/created": "it must be a date and time, as 2026-01-31T12:00:00Z",
        "/version": "the member 'instance' is missing",
        "/properties/a~1b/type": "it must be one of array, boolean, integer, null, number, object, "
        "string",
        "/actions/go/forms": "it must have items, at least 1",
        "/actions/a.b[0]/forms/0": "the member 'href' is missing",
        "/actions/a.b[0]/forms/0/op": "it must have items, at least 1",
        "/events/e": "the member 'forms' is missing",
        "/events/{f}/forms": "it must be of the type array",
        "/events/a.b/forms/0": "it must be of the type object",
        "/id": "'no iri' is no absolute IRI",
        "/security": "'basic' is not defined",
        "/securityDefinitions/none/scheme": "'magic' is no security scheme",
        "/securityDefinitions/none/password": "a description is public and must hold no secret",
        "/properties/a~1b": "'a/b' cannot be a name: a segment cannot hold '/' or NUL, raw or "
        "encoded; use another character",
        "/properties/a~1b/forms/0/op": "'invokeaction' is no operation of properties",
    }


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_a_description_is_an_object(text: str):
    assert problems(text.encode()) == {"": "a Thing Description is a JSON object"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the document is empty"),
        (b'{"title": "a", "title": "b"}', 'the key "title" is there twice'),
        (b'{"title": NaN}', "is no JSON number"),
        (b'{"title": "\\ud800"}', "half of a surrogate pair"),
        (b'{"title": "\xff"}', "is not UTF-8"),
        (b'{"title": 1,}', "a comma after the last entry"),
        (b"[" * 100_000, "more than 20000 values"),
        (b"[" * 100 + b"]" * 100, "levels of nesting"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "levels of nesting"),
        (b" " * (MAX_BYTES + 1), "more than the 1048576 allowed"),
        (b"[" + b"1," * 20_000 + b"1]", "more than 20000 values"),
    ],
)
def test_hostile_texts(data: bytes, message: str):
    assert message in problems(data)[""]


def test_ten_megabytes_are_refused_at_once():
    document = encoded(thing(description="x" * 10_000_000))
    started = time.process_time()
    assert "more than the 1048576 allowed" in problems(document)[""]
    assert time.process_time() - started < 0.5


def test_a_large_description_takes_little_time():
    affordance = {"type": "object", "forms": [{"href": "x"}], "properties": {}}
    affordance["properties"] = {f"p{i}": {"type": "integer", "minimum": 0} for i in range(30)}
    document = encoded(thing(properties={f"a{i}": affordance for i in range(100)}))
    started = time.process_time()
    read(document)
    assert time.process_time() - started < 2, len(document)


def test_numbers_that_others_cannot_read():
    found = problems(
        encoded(thing()).replace(b'"Lamp"', b'"Lamp", "x:a": [1e999, -1e99], "x:b": ' + b"9" * 30)
    )
    assert list(found) == ["/x:a/0", "/x:a/1", "/x:b"]
    assert read(encoded(thing(**{"x:a": 2**62, "x:b": 1e10})))


def test_whatever_stands_where_something_else_should():
    document = thing(
        securityDefinitions={"none": {"scheme": "nosec"}, "s": 3},
        links=[{"href": 3}, 4],
        properties={"p": 5, "q": {"forms": [{"href": "q"}], "items": 6}},
        actions={"a": {"forms": [{"href": "a"}], "input": 7}},
        base=8,
    )
    wrong = [
        *("/securityDefinitions/s", "/links/0/href", "/links/1", "/properties/p", "/base"),
        *("/properties/q/items", "/actions/a/input"),
    ]
    found = problems(document)
    assert all("type" in found.pop(pointer) for pointer in wrong)
    assert set(found.values()) == {
        "'q' is relative, and there is no base",
        "'a' is relative, and there is no base",
    }


def test_pointers_where_keys_hold_dots_and_brackets():
    schema = {
        "type": 1,
        "properties": {"b": {"c": 1}, "b.c": 2, "b.c[0]": 3, "": {"type": 4}, ".": 5},
    }
    assert set(problems(thing(schemaDefinitions={"a": schema, "a.properties": {"b": 6}}))) == {
        "/schemaDefinitions/a/type",
        "/schemaDefinitions/a/properties/b.c",
        "/schemaDefinitions/a/properties/b.c[0]",
        "/schemaDefinitions/a/properties//type",
        "/schemaDefinitions/a/properties/.",
    }


def test_many_errors_take_little_time():
    wrong = {"type": 1, "enum": 1, "items": 1, "oneOf": [1] * 60}
    document = thing(schemaDefinitions={f"s{i}": wrong for i in range(250)})
    started = time.process_time()
    assert len(problems(document)) == 100
    assert time.process_time() - started < 1


def test_bounds_of_numbers_and_lengths():
    schema = {"multipleOf": 0, "minLength": -1, "maxItems": 1.5, "maxLength": 2.0, "enum": []}
    found = problems(thing(schemaDefinitions={"s": schema}, support="x" * 3000))
    assert found == {
        "/support": "it must have at most 2048 characters",
        "/schemaDefinitions/s/multipleOf": "it must be greater than 0",
        "/schemaDefinitions/s/minLength": "it must be at least 0",
        "/schemaDefinitions/s/maxItems": "it must be of the type integer",
        "/schemaDefinitions/s/enum": "it must have items, at least 1",
    }


def test_errors_do_not_multiply_long_keys():
    broken = {"forms": [3] * 32, **{f"titles{i}": 0 for i in range(9)}}
    long = {"x" * 500_000: broken, **{f"p{i}": broken for i in range(100)}}
    found = problems(thing(properties=long))
    assert found == {"": "the keys on the way to a value have more than 2048 characters"}


@pytest.mark.parametrize("text", ["a" * 60_000, "//" + "." * 60_000, "/" * 60_000, "a:" * 30_000])
def test_texts_that_are_slow_to_look_through(text: str):
    started = time.process_time()
    viewed(thing(description=f"device.test {text}", **{"x:y": f"device.test {text}"}))
    assert time.process_time() - started < 0.5


def test_what_is_wrong_is_shown_in_short():
    long = {"a": 1, "b": 2}
    with pytest.raises(InvalidThing) as caught:
        read(encoded(thing(schemaDefinitions=[long], title=["x" * 100], support="s" * 3000)))
    assert [each.hint for each in caught.value.problems] == [
        "it is an array of 1",
        "it is an array of 1",
        f'it is "{"s" * 59}…',
    ]


# Contexts, views and models


@pytest.mark.parametrize(
    "context",
    [
        TD_1_1,
        [TD_1_1],
        [TD_1_0, TD_1_1],
        [TD_1_1, DISCOVERY, {"saref": "https://w3id.org/saref#", "@language": "en"}],
    ],
)
def test_known_contexts(context: object):
    assert read(encoded(thing(**{"@context": context}))).warnings == []


def test_a_description_of_td_1_0_is_taken_and_said_to_be_one():
    one = read(encoded(thing(**{"@context": TD_1_0})))
    assert one.warnings == ["it is a description of TD 1.0 and is read as one of TD 1.1"]


@pytest.mark.parametrize("context", [DISCOVERY, [{"a": "urn:b"}], [{}, {}, TD_1_1]])
def test_a_context_of_something_else(context: object):
    found = problems(thing(**{"@context": context}))
    assert found["/@context"] == f"it must begin with {TD_1_1}"


INSIDE = "http://169.254.169.254/latest/meta-data"


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"@context": [TD_1_1, INSIDE]}, "/@context/1"),
        ({"@context": [TD_1_1, {"@import": INSIDE}]}, "/@context/1/@import"),
        (
            {"@context": [TD_1_1, {"a": {"@id": "urn:a", "@context": INSIDE}}]},
            "/@context/1/a/@context",
        ),
        ({"x:a": [{"@context": [INSIDE, None, 3]}]}, "/x:a/0/@context/0"),
    ],
)
def test_contexts_that_are_not_known(members: dict, pointer: str):
    document = thing(**members)
    assert problems(document) == {pointer: f"the context {INSIDE} is not known here"}
    kept = read(encoded(document), unknown_contexts=True)
    assert kept.warnings == [f"the context {INSIDE} is not known: its terms are kept"]


def test_a_view_is_not_taken_for_a_description():
    view = viewed(thing())
    assert list(problems(view)) == ["/hilum:view"]
    renamed = {("h:view" if key == "hilum:view" else key): value for key, value in view.items()}
    renamed["@context"] = [TD_1_1, {"h": "https://w3id.org/hilum#"}]
    assert list(problems(renamed)) == ["/h:view"]


def test_a_view_is_known_whatever_its_prefix_is_bound_to():
    hijacked = thing(**{"@context": [TD_1_1, {"hilum": "urn:other:"}]})
    assert list(problems(viewed(hijacked))) == ["/https:~1~1w3id.org~1hilum#view"]


@pytest.mark.parametrize("type_", ["tm:ThingModel", "https://www.w3.org/2022/wot/tm#ThingModel"])
def test_a_thing_model_is_refused_and_an_instance_of_one_is_not(type_: str):
    link = {"rel": "type", "type": "application/tm+json", "href": "https://models.test/lamp"}
    assert read(encoded(thing(links=[link], **{"tm:required": ["#/actions/go"]})))
    found = problems(thing(**{"@type": ["Thing", type_]}))
    assert found == {"/@type": "it is a Thing Model, which describes no thing"}


# Names


@pytest.mark.parametrize("name", ["", ".", "..", "$a", "@a", "a/b", "a\0b", "x" * 300])
def test_names_that_cannot_be_segments(name: str):
    found = problems(thing(events={name: {"forms": [{"href": "e"}]}}))
    assert list(found) == ["/events/" + name.replace("/", "~1")]


@pytest.mark.parametrize(
    "name", ["temp;write", "temp;observe", "temp;read", "temp;event", "x" * 250]
)
def test_names_that_the_site_would_make_itself(name: str):
    assert list(problems(thing(actions={name: {"forms": [{"href": "e"}]}}))) == [f"/actions/{name}"]


def test_names_that_cannot_be_told_from_each_other():
    form = {"forms": [{"href": "e"}]}
    found = problems(thing(events={"Türe": form, "Tu\u0308re": form}))
    assert list(found) == ["/events/Tu\u0308re"]
    assert read(encoded(thing(events={"Türe": form}, actions={"Türe": form})))


@pytest.mark.parametrize("name", [3, "", "$site/x", "a//b", "a/../b"])
def test_a_name_that_is_asked_for_must_be_one(name: object):
    assert list(problems(thing(**{"hilum:name": name}))) == ["/hilum:name"]


# Addresses


@pytest.mark.parametrize(
    ("href", "message"),
    [
        ("http://a:b@device.test/", "an address must hold no user and no password"),
        ("//a@device.test/", "an address must hold no user and no password"),
        ("x?access_token=geheim", "the query 'access_token' holds a secret"),
        ("x?API-Key=geheim", "the query 'API-Key' holds a secret"),
        ("x{?a}", "the variable 'a' is not described"),
        ("x{a", "braces that do not close each other"),
        ("x{}", "{} is no variable that can be sent"),
        ("x{+a}", "{+a} is no variable that can be sent"),
        ("x/{b}{?b}", "a variable stands there twice"),
        ("x{?" + ",".join(f"v{i}" for i in range(65)) + "}", "more than 64 variables"),
    ],
)
def test_addresses_that_are_refused(href: str, message: str):
    found = problems(thing(properties={"p": {"forms": [{"href": href}]}}))
    assert found["/properties/p/forms/0/href"] == message


def test_a_thing_is_at_few_places():
    def at(hosts: int) -> dict:
        affordances = {
            f"p{i}": {"forms": [{"href": f"http://h{i}.test/"}] * 2} for i in range(hosts)
        }
        return thing(properties=affordances)

    assert read(encoded(at(32)))
    message = "the forms lead to more than 32 hosts"
    assert problems(at(40)) == {"/properties/p32/forms/0/href": message}


def test_secrets_in_other_addresses():
    oauth = {"scheme": "oauth2", "flow": "code", "token": "https://u:p@login.test/"}
    document = thing(
        base="https://u:p@device.test/",
        links=[{"href": "https://u@other.test/"}],
        securityDefinitions={"none": {"scheme": "nosec"}, "o": oauth},
    )
    assert set(problems(document)) == {"/base", "/links/0/href", "/securityDefinitions/o/token"}


def test_a_relative_address_needs_a_base():
    document = thing(properties={"p": {"forms": [{"href": "/p"}]}})
    del document["base"]
    assert problems(document) == {
        "/properties/p/forms/0/href": "'/p' is relative, and there is no base"
    }


def test_the_forms_of_the_thing_itself():
    forms = [{"href": "all", "op": "readallproperties"}, {"href": "all"}, {"href": "x", "op": "go"}]
    assert problems(thing(forms=forms)) == {
        "/forms/1": "the member 'op' is missing: a form of the thing must say it",
        "/forms/2/op": "'go' is no operation of the whole thing",
    }


def test_an_operation_that_the_property_has_not_is_left_unused():
    ops = ["readproperty", "writeproperty", "writeproperty"]
    write = {"readOnly": True, "forms": [{"href": "p", "op": ops}]}
    one = read(encoded(thing(properties={"p": write})))
    assert one.warnings == ["properties/p/forms/0: writeproperty of what is readOnly is not used"]


# Security


@pytest.mark.parametrize(
    ("scheme", "pointer"),
    [
        ({"scheme": "basic", "x:Pass-Word": "geheim"}, "/x:Pass-Word"),
        ({"scheme": "apikey", "name": "X-Key", "apiKey": "geheim"}, "/apiKey"),
        ({"scheme": "bearer", "token": "geheim"}, "/token"),
        ({"scheme": "oauth2", "flow": "client", "client_secret": "geheim"}, "/client_secret"),
        ({"scheme": "psk", "key": "00ff"}, "/key"),
        ({"scheme": "oauth2"}, ""),
        ({"scheme": "combo"}, ""),
        ({"scheme": "combo", "oneOf": ["none", "other"]}, "/oneOf/1"),
    ],
)
def test_security_schemes_that_are_refused(scheme: dict, pointer: str):
    document = thing(securityDefinitions={"none": {"scheme": "nosec"}, "s": scheme})
    assert list(problems(document)) == [f"/securityDefinitions/s{pointer}"]


def test_security_schemes_of_others_and_public_parts_are_taken():
    definitions = {
        "none": {"scheme": "ace:ACESecurityScheme", "ace:as": "coaps://as.test/token"},
        "a": {"scheme": "apikey", "in": "query", "name": "apikey"},
        "o": {"scheme": "oauth2", "flow": "client", "token": "https://login.test/token"},
        "p": {"scheme": "psk", "identity": "lamp-7"},
    }
    assert read(encoded(thing(securityDefinitions=definitions)))


# Schemas


def test_hostile_patterns_wherever_they_are():
    bad = {"type": "string", "pattern": "^(a+)+$"}
    document = thing(
        schemaDefinitions={"s": bad},
        properties={"p": {"forms": [{"href": "p"}], "items": [{"oneOf": [bad]}]}},
        actions={"a": {"forms": [{"href": "a"}], "input": {"properties": {"x": bad}}}},
        events={"e": {"forms": [{"href": "e"}], "data": bad, "uriVariables": {"v": bad}}},
    )
    assert set(problems(document)) == {
        "/schemaDefinitions/s/pattern",
        "/properties/p/items/0/oneOf/0/pattern",
        "/actions/a/input/properties/x/pattern",
        "/events/e/data/pattern",
        "/events/e/uriVariables/v/pattern",
    }


def test_the_number_of_patterns_is_limited():
    schemas = {f"s{i}": {"pattern": "^a$"} for i in range(256)}
    assert read(encoded(thing(schemaDefinitions=schemas)))
    more = thing(schemaDefinitions=schemas, events={})
    more["events"] = {"e": {"forms": [{"href": "e"}], "data": {"oneOf": [{"pattern": "x"}] * 2}}}
    assert list(problems(more)) == ["/events/e/data/oneOf/0/pattern"]


def test_a_minimum_above_the_maximum_and_bad_languages():
    schema = {"minimum": 2, "maximum": 1, "titles": {"not a language": "x"}}
    assert set(problems(thing(schemaDefinitions={"s": schema}, descriptions={"en": "a"}))) == {
        "/schemaDefinitions/s/minimum",
        "/schemaDefinitions/s/titles/not a language",
    }


def test_ids_are_iris_of_any_alphabet():
    assert read(encoded(thing(id="https://gerät.test/lampe/ä"))).id == "https://gerät.test/lampe/ä"
    for id_ in ("lamp", "urn:a b", "urn:" + "x" * 1021, "http://[::1/", "urn:%zz"):
        assert list(problems(thing(id=id_))) == ["/id"]


def test_problems_are_limited():
    document = thing(properties={f"p{i}": {} for i in range(128)})
    with pytest.raises(InvalidThing) as caught:
        read(encoded(document))
    assert len(caught.value.problems) == 100
    assert json.dumps([each.pointer for each in caught.value.problems])
