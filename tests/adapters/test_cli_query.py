"""``hilum query``: tables for people, documents for programs, errors with their place."""

import json

import pytest

from tests.conformance.wot.things import DirectoryClient, thing

LAMP = "urn:example:cli-query"


@pytest.fixture
def site(running_site):
    DirectoryClient(running_site).put(thing(LAMP, title="CLI lamp"))
    return running_site


def test_results_are_tables_and_documents(site, tmp_path):
    text = f"SELECT ?thing ?title {{ ?thing td:title ?title FILTER(?thing = <{LAMP}>) }}"
    done = site.cli("query", "--sparql", text)
    assert done.stdout.split("\n")[:2] == [
        "THING                  TITLE",
        f"{LAMP}  CLI lamp",
    ]
    (tmp_path / "q.rq").write_text(text)
    for arguments in ((str(tmp_path / "q.rq"),), ("-",)):
        done = site.cli("query", *arguments, "--output", "json", stdin=text)
        (row,) = json.loads(done.stdout)["results"]["bindings"]
        assert row["title"]["value"] == "CLI lamp"
    assert site.cli("query", "--sparql", f"ASK {{ <{LAMP}> a td:Thing }}").stdout == "yes\n"
    turtle = site.cli("query", "--sparql", f"DESCRIBE <{LAMP}>").stdout
    assert f"<{LAMP}>" in turtle
    assert "td:Thing" in turtle
    graph = site.cli("query", "--sparql", f"DESCRIBE <{LAMP}>", "--output", "json").stdout
    assert json.loads(graph)[0]["@id"] == LAMP


def test_jsonpath_and_xpath(site):
    done = site.cli("query", "--jsonpath", f"$[?@.id == '{LAMP}']")
    assert done.stdout.split() == ["ID", "TITLE", LAMP, "CLI", "lamp"]
    done = site.cli("query", "--jsonpath", f"$[?@.id == '{LAMP}'].actions.toggle.safe")
    assert done.returncode == 0
    assert "CLI lamp" in site.cli("query", "--xpath", f"?*[?id = '{LAMP}']?title").stdout
    assert "--limit" in site.cli("query", "--jsonpath", "$.*.id", "--limit", "1").stderr


def test_what_is_wrong_is_told_with_its_place(site, tmp_path):
    (tmp_path / "bad.rq").write_text("SELECT * {\n ?s ?p }")
    done = site.cli("query", str(tmp_path / "bad.rq"))
    assert done.returncode == 2
    assert f"{tmp_path}/bad.rq:2:9: " in done.stderr
    assert "--jsonpath:1:" in site.cli("query", "--jsonpath", "$[").stderr
    assert site.cli("query").returncode == 2
    assert site.cli("query", "--sparql", "ASK {}", "--xpath", "1").returncode == 2
    assert "cannot read" in site.cli("query", str(tmp_path / "none.rq")).stderr
    (tmp_path / "latin.rq").write_bytes(b"ASK { ?s ?p '\xff' }")
    assert "no UTF-8" in site.cli("query", str(tmp_path / "latin.rq")).stderr
