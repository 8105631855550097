"""The documentation: every term is in it, every link leads somewhere, nothing in it runs."""

import subprocess
import sys
from html.parser import HTMLParser

import pytest

from registry.ontology import CORE, load_core
from registry.ontology.document import page_of_core
from registry.ontology.graphs import RDF, read
from registry.terms import HILUM
from registry.vocabulary import NAME, PLACE
from tests.support import ROOT


class Page(HTMLParser):
    """Notes what is opened and closed, ids and links."""

    VOID = frozenset({"meta", "link", "br", "rect", "line", "path"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag, attrs):
        said = dict(attrs)
        self.tags.add(tag)
        self.attributes |= said.keys()
        if "id" in said:
            self.ids.append(said["id"])
        if "href" in said:
            self.links.append(said["href"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


@pytest.fixture(scope="module")
def page():
    parsed = Page()
    parsed.feed(page_of_core())
    return parsed


def test_it_is_well_formed(page):
    assert not page.open
    assert len(page.ids) == len(set(page.ids))


def test_nothing_in_it_runs_or_loads(page):
    assert not page.tags & {"script", "img", "iframe", "object", "link", "form"}
    assert not {name for name in page.attributes if name.startswith("on") or name == "style"}


def test_every_term_of_ours_is_in_it(page):
    graph = read(*load_core().values())
    ours = {s.removeprefix(HILUM) for s in graph.subjects(RDF.type) if s.startswith(HILUM)}
    assert {NAME.removeprefix(HILUM), PLACE.removeprefix(HILUM)} <= ours
    assert ours <= set(page.ids)


def test_every_link_leads_somewhere(page):
    inner = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inner <= set(page.ids)
    files = {f"/ontology/{name}.ttl" for name in (*CORE, "shapes")}
    assert files <= set(page.links)
    assert all(link.startswith(("#", "http://", "https://")) for link in {*page.links} - files)


def test_it_is_printed_for_whoever_wants_a_file():
    command = [sys.executable, "-m", "registry.ontology.document"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode() == page_of_core()
