"""Thing Descriptions at a running site: whose they are, where they lead, what survives."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conformance.wot.things import PATCH, DirectoryClient, new_id, path_of, thing
from tests.running import Gateway

OWN_CONTEXT = ["https://www.w3.org/2022/wot/td/v1.1", {"hilum": "https://w3id.org/hilum#"}]


@pytest.fixture
def directory(running_site: Gateway) -> DirectoryClient:
    return DirectoryClient(running_site)


def registrant(site: Gateway, who: str) -> DirectoryClient:
    """Somebody who may register below ``things`` and ``<who>``, and look at everything there."""
    site.allow(
        f"registrant-{who}",
        {"principal": f"user:{who}"},
        "call register bind describe create destroy",
        f"things/** {who}/** $site/registry/*",
    )
    return DirectoryClient(site, site.token_for(f"user:{who}", "user"))


# Whose it is


def test_the_first_principal_owns_an_id(running_site, directory):
    ann, bob = registrant(running_site, "td-ann"), registrant(running_site, "td-bob")
    id_ = ann.made()
    for verb, body in (("PUT", thing(id_)), ("PATCH", {"title": "Mine"})):
        kind = PATCH if verb == "PATCH" else "application/td+json"
        refused = bob.ask(verb, path_of(id_), body, kind)
        assert refused.status == 409, verb
        assert "another principal" in refused.json()["detail"]
    # A name is owned as an id is.
    taken = thing(new_id(), **{"@context": OWN_CONTEXT, "hilum:name": f"things/{id_}"})
    assert bob.put(taken).status == 409
    # Who may not submit it does not get what was submitted, an administrator does.
    assert bob.get(id_, "?view=submitted").status == 403
    assert directory.get(id_, "?view=submitted").json() == thing(id_)
    assert directory.put(thing(id_, title="By an administrator")).status == 204
    assert ann.get(id_, "?view=submitted").json()["title"] == "By an administrator"
    assert ann.ask("DELETE", path_of(id_)).status == 204
    assert bob.put(thing(id_)).status == 201


def test_what_was_submitted_is_kept_byte_for_byte(directory):
    id_ = new_id()
    text = json.dumps(thing(id_, **{"ex:odd": [1.0, "ä"], "x": {}}), indent=3).encode() + b"\n\n"
    text = text.replace(b'"https://www.w3.org/2022/wot/td/v1.1"', json.dumps(OWN_CONTEXT).encode())
    text = text.replace(b'"ex:odd"', b'"hilum:odd"')
    assert directory.ask("PUT", path_of(id_), text).status == 201
    assert directory.get(id_, "?view=submitted").body == text


def test_a_view_is_not_taken_back(directory):
    id_ = directory.made()
    view = directory.get(id_).json()
    refused = directory.put(view)
    assert refused.status == 400
    assert "submitted" in str(refused.json())
    # Nor is one whose marker was taken out.
    del view["hilum:view"]
    assert directory.put(view).status in (400, 403)
    assert directory.get(id_, "?view=submitted").json() == thing(id_)


def test_objects_of_manifests_are_listed_too_and_changed_by_their_own_api(running_site, directory):
    running_site.register(
        {
            "microservice": "Fan",
            "instance": "a",
            "objects": [{"name": "td-fan", "channels": {"speed": {}}, "methods": {"stop": {}}}],
        }
    )
    id_ = "urn:hilum:localhost/td-fan"
    found = directory.get(id_)
    assert {"stop"} == set(found.json()["actions"])
    assert found.fields["ETag"]
    assert id_ in [each["id"] for each in directory.ask("GET", "/things?limit=1000").json()]
    assert directory.put(thing(id_)).status == 409
    assert directory.ask("PATCH", path_of(id_), {"title": "x"}, PATCH).status == 409
    assert directory.ask("DELETE", path_of(id_)).status == 409
    assert directory.get(id_, "?view=submitted").status == 404


# Conditions


def test_conditions_of_writing(directory):
    id_ = new_id()
    made = directory.put(thing(id_), if_none_match="*")
    assert made.status == 201
    assert directory.put(thing(id_), if_none_match="*").status == 412
    tag = made.fields["ETag"]
    got = directory.get(id_)
    assert got.fields["ETag"] == tag
    unchanged = directory.get(id_, if_none_match=tag)
    assert (unchanged.status, unchanged.body) == (304, b"")
    changed = directory.put(thing(id_, title="2"), if_match=tag)
    assert changed.status == 204
    failed = directory.put(thing(id_, title="3"), if_match=tag)
    assert (failed.status, failed.json()["title"]) == (412, "Precondition failed")
    assert directory.ask("DELETE", path_of(id_), if_match=tag).status == 412
    assert directory.ask("PATCH", path_of(id_), {"title": "4"}, PATCH, if_match=tag).status == 412
    assert directory.ask("DELETE", path_of(id_), if_match=changed.fields["ETag"]).status == 204
    # An id that comes again is not the one that went.
    again = directory.put(thing(id_))
    assert again.fields["ETag"] != tag
    assert directory.put(thing(new_id()), if_match="*").status == 412


def test_of_many_who_change_the_same_only_one_gets_his_way(directory):
    id_ = new_id()
    tag = directory.put(thing(id_)).fields["ETag"]
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda n: directory.put(thing(id_, title=str(n)), if_match=tag), range(8))
        )
    assert sorted(reply.status for reply in replies) == [204, *[412] * 7]
    with ThreadPoolExecutor(8) as pool:
        patches = [{"x" + str(n): n} for n in range(8)]
        replies = list(pool.map(lambda p: directory.ask("PATCH", path_of(id_), p, PATCH), patches))
    assert {reply.status for reply in replies} == {204}
    submitted = directory.get(id_, "?view=submitted").json()
    assert all(submitted[f"x{n}"] == n for n in range(8))


# Where it may lead


@pytest.mark.parametrize(
    "base",
    ["http://169.254.169.254/latest/meta-data", "http://10.1.2.3:8080", "http://0.0.0.0:9"],
)
def test_targets_are_policy(directory, base):
    refused = directory.put(thing(new_id(), base))
    assert refused.status == 403
    assert "may not be bound" in refused.json()["detail"]


def test_our_own_listeners_are_no_targets(running_site, directory):
    for url in (running_site.url, running_site.control, running_site.control + "/things"):
        refused = directory.put(thing(new_id(), url))
        assert refused.status in (400, 403), url


# What survives


def test_descriptions_and_their_times_survive_a_restart(tmp_path):
    with Gateway(tmp_path) as site:
        directory = DirectoryClient(site)
        kept = directory.made()
        short = directory.made(registration={"ttl": 2})
        before = directory.get(kept)
        tag, created = before.fields["ETag"], before.json()["registration"]["created"]
        site.stop()
        time.sleep(2)
        site.start()
        assert directory.get(short).status == 404
        after = directory.get(kept)
        assert after.fields["ETag"] == tag
        assert after.json()["registration"]["created"] == created
        assert directory.put(thing(short)).status == 201
        assert site.stop() == 0


# The command line


def test_commands(running_site, tmp_path):
    file = tmp_path / "td.json"
    id_ = new_id()
    file.write_text(json.dumps(thing(id_)))
    put = running_site.cli("thing", "put", str(file))
    assert (put.returncode, put.stdout.strip()) == (0, id_)
    assert "created; it is called by localhost/things/" in put.stderr
    listed = running_site.cli("thing", "list", "--sort", "modified", "--reverse")
    assert listed.stdout.splitlines()[1].split()[:2] == [id_, "Lamp"]
    assert "say --limit" in running_site.cli("thing", "list", "--limit", "1").stderr
    patch = running_site.cli("thing", "patch", id_, "-", stdin='{"title": "Torch"}')
    assert patch.returncode == 0, patch.stderr
    got = running_site.cli("thing", "get", id_)
    assert json.loads(got.stdout)["title"] == "Torch"
    submitted = running_site.cli("thing", "get", id_, "--submitted")
    assert json.loads(submitted.stdout) == thing(id_, title="Torch")
    assert "deleted" in running_site.cli("thing", "delete", id_).stdout
    assert running_site.cli("thing", "get", id_).returncode == 5
    file.write_text('{"title": 3}')
    refused = running_site.cli("thing", "put", str(file))
    assert refused.returncode == 2
    assert "/title" in refused.stderr


# A plain description of a device that exists


class Device(ThreadingHTTPServer):
    """A lamp that knows nothing of gateways."""

    def __init__(self) -> None:
        device = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.answer(json.dumps(device.status).encode())

            def do_PUT(self) -> None:
                device.status = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.answer(b"")

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                device.status = "off" if device.status == "on" else "on"
                self.answer(json.dumps(device.status).encode())

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.status = "off"


def test_the_affordances_of_a_plain_description_are_names(running_site, directory):
    device = Device()
    threading.Thread(target=device.serve_forever, args=(0.05,), daemon=True).start()
    try:
        base = f"http://127.0.0.1:{device.server_address[1]}"
        document = thing(new_id(), base)
        document["properties"]["status"]["readOnly"] = False
        name = f"things/{document['id']}"
        assert directory.put(document).status == 201
        client = running_site.client()
        assert client.call(f"{name}/toggle").body == b'"on"'
        assert client.call(f"{name}/status", verb="GET").body == b'"on"'
        client.call(f"{name}/status;write", b'"dim"')
        assert device.status == "dim"
        forms = directory.get(document["id"]).json()["actions"]["toggle"]["forms"]
        assert all(str(device.server_address[1]) not in form["href"] for form in forms)
        assert directory.ask("DELETE", path_of(document["id"])).status == 204
        assert running_site.http("POST", f"/{name}/toggle").status == 404
    finally:
        device.shutdown()
        device.server_close()


def test_an_administrator_changes_what_leads_to_its_owners_address(running_site, directory):
    """The registration stays with its owner, whoever mends it."""
    owner = registrant(running_site, "td-carl")
    id_ = owner.made()
    assert directory.ask("PATCH", path_of(id_), {"title": "Mended"}, PATCH).status == 204
    listed = running_site.ask("registry/registrations", {"limit": 1000})["items"]
    assert ("Lamp", "user:td-carl") in [(each["microservice"], each["owner"]) for each in listed]
    assert owner.get(id_, "?view=submitted").json()["title"] == "Mended"
