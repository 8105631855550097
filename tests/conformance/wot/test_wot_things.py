"""The Things API of W3C WoT Discovery (section 7.3.2.1), clause by clause, over HTTP."""

import json
import re
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import pytest

from tests.conformance.clauses import clause
from tests.conformance.wot.things import DISCOVERY, PATCH, TD, new_id, path_of, thing

UUID4 = re.compile(r"urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@clause(
    "WOT-tdd-things-crudl",
    "WOT-tdd-things-crud",
    "WOT-tdd-things-create-known-td",
    "WOT-tdd-things-create-known-contenttype",
    "WOT-tdd-things-create-known-td-resp",
    "WOT-tdd-things-retrieve",
    "WOT-tdd-things-retrieve-resp",
    "WOT-tdd-things-retrieve-resp-content-type",
    "WOT-tdd-things-delete",
    "WOT-tdd-things-delete-resp",
)
def test_a_description_comes_and_goes(directory):
    id_ = new_id()
    assert directory.put(thing(id_)).status == 201
    got = directory.get(id_)
    assert (got.status, got.fields["Content-Type"]) == (200, TD)
    assert (got.json()["id"], got.json()["title"]) == (id_, "Lamp")
    gone = directory.ask("DELETE", path_of(id_))
    assert (gone.status, gone.body) == (204, b"")
    assert directory.get(id_).status == 404
    assert directory.ask("DELETE", path_of(id_)).status == 404


@clause("WOT-tdd-things-create-known-vs-anonymous", "WOT-tdd-things-create-known-td")
def test_a_description_with_an_id_is_put_where_its_id_says(directory):
    assert directory.ask("POST", "/things", thing(new_id())).status == 400
    elsewhere = directory.ask("PUT", path_of(new_id()), thing(new_id()))
    assert elsewhere.status == 400
    assert elsewhere.json()["validationErrors"][0]["field"] == "/id"
    assert directory.ask("PUT", path_of(new_id()), thing()).status == 400


@clause(
    "WOT-tdd-things-create-anonymous-td",
    "WOT-tdd-things-create-anonymous-contenttype",
    "WOT-tdd-things-create-anonymous-id",
    "WOT-tdd-things-create-anonymous-td-resp",
    "WOT-tdd-anonymous-td-identifier",
    "WOT-tdd-anonymous-td-local-uuid",
    "WOT-tdd-things-create-known-vs-anonymous",
)
def test_an_anonymous_description_gets_an_identifier(directory):
    made = directory.ask("POST", "/things", thing())
    assert made.status == 201
    id_ = unquote(made.fields["Location"].removeprefix("/things/"))
    assert UUID4.fullmatch(id_)
    assert directory.ask("GET", made.fields["Location"]).json()["id"] == id_
    listed = directory.ask("GET", "/things?limit=1000").json()
    assert id_ in [each["id"] for each in listed]
    submitted = directory.get(id_, "?view=submitted").json()
    assert "id" not in submitted
    # What was submitted is changed and put back without an id.
    assert directory.ask("PUT", path_of(id_), {**submitted, "title": "Mine"}).status == 204
    assert directory.get(id_).json()["title"] == "Mine"


@clause("WOT-tdd-things-update", "WOT-tdd-things-update-contenttype", "WOT-tdd-things-update-resp")
def test_a_description_is_replaced(directory):
    id_ = directory.made()
    reply = directory.put(thing(id_, title="Another"))
    assert (reply.status, reply.body) == (204, b"")
    assert directory.get(id_).json()["title"] == "Another"


@clause(
    "WOT-tdd-things-update-partial",
    "WOT-tdd-things-update-partial-mergepatch",
    "WOT-tdd-things-update-partial-contenttype",
    "WOT-tdd-things-update-partial-partialtd",
    "WOT-tdd-things-update-partial-resp",
)
def test_a_description_is_changed_in_part(directory):
    id_ = directory.made(description="old")
    patch = {"title": "Patched", "description": None, "support": "https://help.test/"}
    assert directory.ask("PATCH", path_of(id_), patch, "application/json").status == 415
    reply = directory.ask("PATCH", path_of(id_), patch, PATCH)
    assert (reply.status, reply.body) == (204, b"")
    now = directory.get(id_).json()
    assert (now["title"], now["support"]) == ("Patched", "https://help.test/")
    assert "description" not in now
    # What it would become is checked as a whole.
    for wrong in ({"title": None}, {"id": "urn:other"}, {"actions": {"go": {"forms": []}}}, [1]):
        reply = directory.ask("PATCH", path_of(id_), wrong, PATCH)
        assert reply.status == 400, wrong
        assert reply.json()["validationErrors"]
    assert directory.ask("PATCH", path_of(new_id()), patch, PATCH).status == 404


@clause(
    "WOT-tdd-things-list-only",
    "WOT-tdd-things-list-method",
    "WOT-tdd-things-list-resp",
    "WOT-tdd-things-list-resp-content-type",
    "WOT-tdd-things-default-representation",
    "WOT-tdd-things-list-pagination-order-default",
)
def test_descriptions_are_listed_in_the_order_of_their_ids(directory):
    ids = {directory.made(), directory.made()}
    reply = directory.ask("GET", "/things?limit=1000")
    assert (reply.status, reply.fields["Content-Type"]) == (200, "application/ld+json")
    listed = [each["id"] for each in reply.json()]
    assert ids <= set(listed)
    assert listed == sorted(listed)


@clause(
    "WOT-tdd-things-list-pagination",
    "WOT-tdd-things-list-pagination-limit",
    "WOT-tdd-things-list-pagination-header-nextlink",
    "WOT-tdd-things-list-pagination-header-nextlink-attr",
    "WOT-tdd-things-list-pagination-header-nextlink-base",
    "WOT-tdd-things-list-pagination-header-canonicallink",
)
def test_pages_lead_to_each_other(directory):
    ids = {directory.made() for _ in range(3)}
    found, path, pages = [], "/things?limit=2&sort_by=id&sort_order=desc", 0
    while path:
        reply = directory.ask("GET", path)
        page = [each["id"] for each in reply.json()]
        assert 0 < len(page) <= 2
        found += page
        links = reply.fields["Link"]
        assert re.search(r'</things>; rel="canonical"; etag="[^"]+"', links)
        match = re.search(r'<([^>]+)>; rel="next"', links)
        path = match[1] if match else ""
        assert not path or {"limit=2", "sort_by=id", "sort_order=desc"} <= set(
            path.partition("?")[2].split("&")
        )
        pages += 1
    assert ids <= set(found)
    assert found == sorted(set(found), reverse=True)
    assert pages == -(-len(found) // 2)


@clause("WOT-tdd-things-list-pagination-collection", "WOT-tdd-context-injection")
def test_a_page_can_say_how_many_there_are(directory):
    directory.made()
    directory.made()
    page = directory.ask("GET", "/things?format=collection&limit=1").json()
    assert page["@type"] == "ThingCollection"
    assert DISCOVERY in page["@context"]
    assert page["total"] >= 2
    assert len(page["members"]) == 1
    assert page["next"].startswith("/things?")
    assert directory.ask("GET", "/things?format=list").status == 400


@clause("WOT-tdd-http-unsupported-feature")
def test_what_is_not_supported_is_said(directory):
    assert directory.ask("GET", "/things?sort_by=colour").status == 501
    assert directory.ask("GET", "/things?query=x").status == 400
    assert directory.ask("GET", "/things?limit=0").status == 400
    assert directory.ask("POST", "/things", "<td/>", "application/xml").status == 415
    assert directory.ask("PUT", "/things").status == 405


@clause(
    "WOT-tdd-http-head",
    "WOT-exploration-server-http-head",
)
def test_head_answers_with_the_fields_only(directory):
    id_ = directory.made()
    for path in (path_of(id_), "/things", "/.well-known/wot", "/events"):
        head = directory.ask("HEAD", path)
        assert (head.status, head.body) == (200, b""), path
    assert directory.ask("HEAD", path_of(id_)).fields["ETag"]


@clause(
    "WOT-tdd-http-error-response",
    "WOT-tdd-http-error-response-utf-8",
    "WOT-tdd-things-read-only-auth",
    "WOT-priv-loc-priv-dir-access",
    "WOT-priv-loc-explicit-care",
    "WOT-exploration-secboot-401",
    "WOT-exploration-secboot-auth",
    "WOT-security-bootstrapping-endpoints",
)
def test_whoever_may_not_is_told_in_problem_details(directory, stranger):
    id_ = directory.made()
    for verb, path, body in (
        ("GET", "/things", None),
        ("GET", path_of(id_), None),
        ("PUT", path_of(id_), thing(id_)),
        ("PATCH", path_of(id_), {"title": "x"}),
        ("DELETE", path_of(id_), None),
        ("POST", "/things", thing()),
        ("GET", "/events", None),
        ("GET", "/.well-known/wot", None),
    ):
        kind = PATCH if verb == "PATCH" else TD
        reply = stranger.ask(verb, path, body, kind)
        assert reply.status == 403, (verb, path)
        assert reply.fields["Content-Type"] == "application/problem+json"
        reply.body.decode("utf-8")
        reply = type(stranger)(stranger.site, "").ask(verb, path, body, kind)
        assert reply.status == 401, (verb, path)
        assert reply.fields["WWW-Authenticate"].startswith("Bearer")


@clause(
    "WOT-tdd-validation-syntactic",
    "WOT-tdd-validation-jsonschema",
    "WOT-tdd-validation-result",
    "WOT-tdd-validation-response",
    "WOT-tdd-validation-response-utf-8",
)
def test_every_error_of_a_description_is_told(directory):
    id_ = new_id()
    wrong = thing(id_, title=5)
    del wrong["security"]
    wrong["properties"]["status"]["forms"][0]["href"] = 7
    reply = directory.ask("PUT", path_of(id_), wrong)
    assert reply.status == 400
    assert reply.fields["Content-Type"] == "application/problem+json"
    problem = json.loads(reply.body.decode("utf-8"))
    assert problem["status"] == 400
    fields = {each["field"] for each in problem["validationErrors"]}
    assert {"/title", "/properties/status/forms/0/href"} <= fields
    assert any("security" in str(each) for each in problem["validationErrors"])
    assert all(each["description"] for each in problem["validationErrors"])
    for text in ("", "[]", "{", '{"id": "' + id_ + '", "id": "b"}'):
        assert directory.ask("PUT", path_of(id_), text).status == 400, text


@clause(
    "WOT-tdd-registrationinfo-vocab-created",
    "WOT-tdd-registrationinfo-vocab-modified",
    "WOT-tdd-registrationinfo-vocab-retrieved",
    "WOT-tdd-absolute-time",
    "WOT-tdd-context-injection",
)
def test_when_a_description_came_and_changed_is_in_it(directory):
    before = datetime.now(UTC) - timedelta(seconds=1)
    id_ = directory.made(registration={"created": "1999-01-01T00:00:00Z"})
    first = directory.get(id_).json()
    assert DISCOVERY in first["@context"]
    said = first["registration"]
    times = {key: datetime.fromisoformat(said[key]) for key in said if key != "warnings"}
    assert before <= times["created"] <= times["modified"] <= times["retrieved"]
    time.sleep(0.01)
    directory.ask("PATCH", path_of(id_), {"title": "x"}, PATCH)
    second = directory.get(id_).json()["registration"]
    assert second["created"] == first["registration"]["created"]
    assert second["modified"] > first["registration"]["modified"]


@clause(
    "WOT-tdd-registrationinfo-vocab-ttl",
    "WOT-tdd-registrationinfo-vocab-expires",
    "WOT-tdd-registrationinfo-expiry-purge",
)
def test_a_description_expires(directory):
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    id_ = directory.made(registration={"ttl": 1.5, "expires": later})
    said = directory.get(id_).json()["registration"]
    assert said["ttl"] == 1.5
    # The time to live counts, whatever else was said.
    assert datetime.fromisoformat(said["expires"]) < datetime.fromisoformat(later)
    absolute = directory.made(registration={"expires": later})
    shown = directory.get(absolute).json()["registration"]["expires"]
    assert abs(datetime.fromisoformat(shown) - datetime.fromisoformat(later)).total_seconds() < 1
    end = time.monotonic() + 6
    while directory.get(id_).status != 404:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert id_ not in [each["id"] for each in directory.ask("GET", "/things?limit=1000").json()]


@pytest.mark.parametrize(
    "information",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": 1e18},
        {"ttl": "1"},
        {"expires": "2001-01-01T00:00:00Z"},
        {"expires": "9999-12-31T23:59:59Z"},
        {"expires": "soon"},
        {"expires": "2090-01-01"},
    ],
    ids=str,
)
@clause("WOT-tdd-registrationinfo-vocab-ttl", "WOT-tdd-registrationinfo-vocab-expires")
def test_times_that_cannot_be_meant_are_refused(directory, information):
    id_ = new_id()
    reply = directory.put(thing(id_, registration=information))
    assert reply.status == 400
    assert reply.json()["validationErrors"][0]["field"].startswith("/registration")


@clause(
    "WOT-tdd-http-representation-alternate-output",
    "WOT-tdd-things-representation-alternate-input",
    "WOT-exploration-server-http-alternate-content",
)
def test_other_types_of_the_same_json_can_be_asked_for(directory):
    id_ = new_id()
    for kind in ("application/json", "application/ld+json", TD):
        assert directory.ask("PUT", path_of(id_), thing(id_), kind).status in (201, 204)
        assert directory.get(id_, accept=kind).fields["Content-Type"] == kind


def test_ids_are_any_iri(directory):
    for id_ in (
        "https://things.example/lamps/1?x=y",
        "urn:example:Lämpchen-日本",
        "urn:example:a%20b/c",
        "did:example:123#frag",
    ):
        assert directory.put(thing(id_)).status in (201, 204), id_
        assert directory.get(id_).json()["id"] == id_
        assert directory.ask("DELETE", f"/things/{quote(id_, safe='')}").status == 204
