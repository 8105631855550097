"""Ontologies of a running site: loaded, compared, taken out, from files, and shown."""

import json
import time

import pytest

from adapters.client import Problem
from gateway.objects.ontologies import MOST
from registry.ontology import load_core
from tests.running import Gateway, cli, hilum

BUILDING = """@prefix b: <http://building.test/#> .
@prefix brick: <https://brickschema.org/schema/Brick#> .
b:house a brick:Building ; brick:hasPart b:floor2 .
b:floor2 a brick:Floor ; brick:hasPart b:room201 .
b:room201 a brick:Room .
"""


@pytest.fixture
def site(running_site):
    yield running_site
    for one in running_site.ask("registry/ontologies")["items"]:
        if one["source"] == "loaded":
            running_site.ask("registry/ontology-unload", {"name": one["name"]})


@pytest.fixture
def building(tmp_path):
    path = tmp_path / "building.ttl"
    path.write_text(BUILDING)
    return path


def load(site, text=BUILDING, name="building", token=None, **how):
    client = site.client(token)
    query = {"name": name} | {key: str(value) for key, value in how.items()}
    data = text.encode() if isinstance(text, str) else text
    answer = client.call("$site/registry/ontology-load", data, "text/turtle", query=query)
    return json.loads(answer.body)


def refused(site, *arguments, **how):
    with pytest.raises(Problem) as caught:
        load(site, *arguments, **how)
    return caught.value


def listed(site):
    return {one["name"]: one for one in site.ask("registry/ontologies")["items"]}


def settled(site):
    end = time.monotonic() + 20
    while site.ask("registry/ontologies")["index"]["building"]:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_ontology_is_loaded_replaced_and_taken_out(site):
    answer = load(site)
    assert (answer["result"], answer["revision"]) == ("created", 1)
    assert answer["summary"]["places"] == 2
    assert load(site)["result"] == "unchanged"
    assert load(site, BUILDING + "b:room202 brick:isPartOf b:floor2 .")["revision"] == 2
    assert refused(site, revision=1).status.slug == "conflict"
    one = listed(site)["building"]
    assert (one["source"], one["revision"], one["owner"]) == ("loaded", 2, "site:admin")
    assert set(load_core()) < set(listed(site))
    site.ask("registry/ontology-unload", {"name": "building"})
    assert "building" not in listed(site)
    with pytest.raises(Problem, match="there is no ontology"):
        site.ask("registry/ontology-unload", {"name": "building"})


def test_it_may_be_larger_than_other_messages_but_not_endless(site):
    head = "@prefix b: <http://building.test/#> .\n"
    lines = "".join(f"b:room{n} b:partOf b:house .\n" for n in range(50_000))
    assert load(site, head + lines)["summary"]["triples"] == 50_000
    settled(site)
    found = refused(site, b"#" * (17 * 1024 * 1024 + 1))
    assert found.status.slug == "too-large"
    found = refused(site, b"#" * (16 * 1024 * 1024 + 1))
    assert found.status.slug == "too-large"
    with pytest.raises(Problem, match="at most"):
        site.client().call("$site/registry/ontology-unload", b"{" + b" " * 2_000_000)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("b:x b:y b:z .", "building", "line 1, column 1: the prefix b: has not been declared"),
        (BUILDING, "../x", "is no name for an ontology"),
        (BUILDING, "domain", "is an ontology of ours"),
        ("<rdf:RDF/>", "building", "rdfpipe -i xml"),
    ],
)
def test_what_cannot_be_loaded_is_told(site, text, name, said):
    assert said in str(refused(site, text, name))
    assert "building" not in listed(site)


def test_it_can_be_loaded_as_json_over_any_protocol(site):
    answer = site.ask("registry/ontology-load", {"name": "building", "text": BUILDING})
    assert answer["result"] == "created"
    with pytest.raises(Problem, match="send text/turtle"):
        site.client().call("$site/registry/ontology-load", b"<a/>", "application/rdf+xml")


def test_there_are_not_endlessly_many(site):
    for number in range(MOST):
        load(site, f"<urn:x:{number}> <urn:x:p> <urn:x:o> .", f"o{number}")
    assert "unload one first" in str(refused(site, BUILDING, "one-more"))


def test_only_who_may_administer_does(site):
    token = site.token_for("service:builder")
    assert refused(site, token=token).status.slug == "denied"
    for method in ("ontologies", "ontology-rebuild"):
        with pytest.raises(Problem):
            site.client(token).ask(f"registry/{method}", {})
    site.allow("builder-calls", {"principal": "service:builder"}, "call", "$site/registry/**")
    found = refused(site, token=token)
    assert "may not administer" in str(found)


def test_the_command_line_loads_compares_and_lists(site, building):
    done = site.cli("ontology", "load", str(building))
    assert done.returncode == 0, done.stderr
    assert "building created, revision 1" in done.stdout
    assert "2 places" in done.stderr
    changed = building.with_name("changed.ttl")
    changed.write_text(BUILDING.replace("b:room201", "b:room202"))
    done = site.cli("ontology", "diff", str(changed), "--name", "building")
    assert "- <http://building.test/#floor2> brick:hasPart <http://building.test/#room201>" in (
        done.stdout
    )
    assert "2 triples go and 2 come" in done.stderr
    assert "building" in site.cli("ontology", "list").stdout
    assert json.loads(site.cli("ontology", "list", "-o", "json").stdout)["index"]["ready"]
    assert "the index is built" in site.cli("ontology", "rebuild").stdout
    assert "building unloaded" in site.cli("ontology", "unload", "building").stdout


def test_the_command_line_points_at_the_line(site, building):
    building.write_text("@prefix b: <http://b.test/> .\nb:x b:y c:z .\n")
    done = site.cli("ontology", "load", str(building))
    assert done.returncode
    assert f"{building}:2:9: the prefix c: has not been declared" in done.stderr
    assert "@prefix" in done.stderr


def test_a_file_of_the_settings_is_read_at_start(tmp_path, building):
    with Gateway(tmp_path, config=f'[registry]\nontologies = ["{building}"]\n') as site:
        one = listed(site)["building"]
        assert (one["source"], one["path"]) == ("file", str(building))
        assert "comes from the settings" in str(refused(site))
        with pytest.raises(Problem, match="take it out of"):
            site.ask("registry/ontology-unload", {"name": "building"})
        load(site, "<urn:x:a> <https://w3id.org/hilum#partOf> <urn:x:b> .", "plant")
        site.restart()
        assert listed(site)["plant"]["revision"] == 1


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("b:x b:y b:z .", "building.ttl", "line 1, column 1: the prefix b:"),
        (BUILDING, "domain.ttl", "rename the file"),
        (None, "missing.ttl", "there is no file"),
    ],
)
def test_a_site_does_not_start_without_what_the_settings_name(tmp_path, text, name, said):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    config = tmp_path / "site.toml"
    config.write_text(f'[registry]\nontologies = ["{name}"]\n')
    done = hilum("check", "--config", str(config))
    assert done.returncode
    assert said in done.stderr


def test_nor_does_it_serve_half_of_them(tmp_path, building):
    building.write_text("b:x b:y b:z .")
    config = tmp_path / "site.toml"
    config.write_text('[registry]\nontologies = ["building.ttl"]\n')
    quiet = ("--http", "127.0.0.1:0", "--control", "127.0.0.1:0", "--mqtt", "off", "--coap", "off")
    state = str(tmp_path / "state")
    done = cli("serve", "--config", str(config), "--state", state, *quiet)
    assert done.returncode
    assert "line 1, column 1: the prefix b:" in done.stderr


def test_the_ontology_is_shown_to_everybody(site):
    page = site.http("GET", "/ontology", token="", control=True, accept="text/html,*/*;q=0.8")
    assert page.status == 200
    assert page.fields["content-type"].startswith("text/html")
    assert b"The Hilum ontology" in page.body
    whole = site.http("GET", "/ontology", token="", control=True, accept="text/turtle")
    assert whole.fields["content-type"].startswith("text/turtle")
    part = site.http("GET", "/ontology/domain.ttl", token="", control=True)
    assert part.body.decode() == load_core()["domain"]
    assert part.body in whole.body
    assert site.http("GET", "/ontology/no.ttl", token="", control=True).status == 404


def test_a_description_is_warned_of_and_policy_says_who_sees_it(site):
    load(site)
    token = site.token_for("service:rooms")
    object_ = {
        "name": "ontology-rooms/201",
        "types": ["brick:Temprature_Sensor"],
        "place": "http://building.test/#room201",
        "methods": {"read": {"profile": {"category": "urn:x:nobody-knows"}}},
    }
    site.allow("ontology-rooms", {"principal": "service:rooms"}, "register", "ontology-rooms/**")
    site.register({"microservice": "Rooms", "objects": [object_]}, token)
    end = time.monotonic() + 20
    while (found := site.ask("registry/warnings", {"name": object_["name"]}))["pending"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    told = {(one.get("property"), one["severity"]) for one in found["items"]}
    assert ("rdf:type", "warning") in told
    assert ("hilum:category", "warning") in told
    assert ("hilum:place", "warning") not in told
    with pytest.raises(Problem):
        site.client(site.token_for("service:stranger")).ask(
            "registry/warnings", {"name": object_["name"]}
        )


def test_the_warnings_of_a_thing_are_in_its_registration_information(site):
    thing = {
        "@context": [
            "https://www.w3.org/2022/wot/td/v1.1",
            {"hilum": "https://w3id.org/hilum#"},
        ],
        "id": "urn:example:ontology-lamp",
        "title": "Lamp",
        "hilum:place": "urn:example:nowhere",
        "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
        "security": "nosec_sc",
    }
    path = f"/things/{thing['id']}"
    put = site.http(
        "PUT", path, json.dumps(thing), control=True, content_type="application/td+json"
    )
    assert put.status == 201
    end = time.monotonic() + 20
    while "warnings" not in (told := site.http("GET", path, control=True).json()["registration"]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert {"hilum:place", "td:description"} <= {one.get("property") for one in told["warnings"]}
    assert site.http("DELETE", path, control=True).status == 204
