"""How the directory is found and described: sections 6 and 7.2 of W3C WoT Discovery."""

from tests.conformance.clauses import clause
from tests.conformance.wot.things import DISCOVERY, TD, DirectoryClient, thing
from tests.running import Gateway, request


@clause(
    "WOT-introduction-direct-url",
    "WOT-introduction-direct-thing-description",
    "WOT-introduction-direct-directory-description",
    "WOT-introduction-well-known-uri",
    "WOT-introduction-well-known-path",
    "WOT-introduction-well-known-thing-description",
    "WOT-exploration-directory-description-type",
    "WOT-exploration-server-http-method",
    "WOT-exploration-server-http-resp",
    "WOT-exploration-server-http-resp-content-type",
    "WOT-exploration-server-http-resp-json",
)
def test_the_directory_describes_itself_at_its_listeners(directory):
    for control in (True, False):
        reply = directory.site.http("GET", "/.well-known/wot", control=control)
        assert (reply.status, reply.fields["Content-Type"]) == (200, TD)
        own = reply.json()
        assert own["@type"] == "ThingDirectory"
        assert DISCOVERY in own["@context"]
        assert own["base"].rstrip("/") == directory.site.control
        assert set(own["properties"]) == {"things"}
        assert {"createThing", "updateThing", "deleteThing", "retrieveThing"} <= set(own["actions"])
        assert set(own["events"]) == {"thingCreated", "thingUpdated", "thingDeleted"}


def test_its_own_description_is_valid(directory):
    """As the descriptions that it takes must be; it leads to this site, so it cannot be put."""
    own = directory.ask("GET", "/.well-known/wot").json()
    refused = directory.ask("PUT", "/things/" + own["id"].replace("/", "%2F"), own)
    problem = refused.json()
    assert refused.status in (400, 403, 409), problem
    fields = [each["field"] for each in problem.get("validationErrors", [])]
    assert all(field in ("", "/id") for field in fields), problem


@clause("WOT-tdd-things-list-only", "WOT-introduction-well-known-path")
def test_the_directory_has_a_listener_of_its_own(tmp_path):
    settings = "[directory]\nenabled = true\nport = 0\n"
    with Gateway(tmp_path, config=settings) as site:
        base = site.ready["directory"]
        own = request(base, "GET", "/.well-known/wot", headers=bearer(site.token))
        assert own.json()["base"] == f"{base}/"
        client = DirectoryClient(site)
        id_ = client.made()
        listed = request(base, "GET", "/things", headers=bearer(site.token))
        assert [each["id"] for each in listed.json()] == [id_]
        for path in ("/", "/metrics", "/healthz", "/api/v1/policies", "/openapi.json", "/login"):
            refused = request(base, "GET", path, headers=bearer(site.token))
            assert refused.status == 404, path
            assert "/.well-known/wot" in refused.json()["detail"]
        body = thing("urn:example:mine")
        assert request(base, "GET", "/things").status == 401
        # Nobody's description can make the directory an endpoint of its own.
        loop = client.put({**body, "base": base})
        assert loop.status == 403, loop.body


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}
