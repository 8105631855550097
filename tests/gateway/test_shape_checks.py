"""Checks against the shapes follow a site, in a process of their own, and never in its way."""

import asyncio
import sys
from contextlib import asynccontextmanager

import msgspec
import pytest

from gateway.directory import shapes
from gateway.directory.checker import COMMAND, Checker
from gateway.directory.indexing import Indexing
from gateway.directory.shapes import ShapeChecks
from registry.changes import Deregistered, OntologyLoaded
from registry.model import OntologyRecord
from registry.names import Name
from registry.ontology import load_core
from registry.ontology.findings import Answered, Asked, Finding
from tests.gateway.sites import A, Time, W, opened, registered, running, until

PLACE = "<urn:x:hall> <https://w3id.org/hilum#partOf> <urn:x:house> ."
HALL = msgspec.structs.replace(
    registered().registration,
    objects=(
        msgspec.structs.replace(
            registered().registration.objects[0],
            description="The air of the hall.",
            place="urn:x:hall",
            types=("urn:x:Odd",),
        ),
    ),
)


class Slow(Checker):
    """Answers when the test lets it."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer = Answered((Finding("urn:hilum:s/w", "warning", "odd"),))

    async def check(self, data):
        self.asked.append(data)
        await self.gate.wait()
        return self.answer


@asynccontextmanager
async def checking(folder, monkeypatch, checker=None):
    monkeypatch.setattr(shapes, "SETTLE", 0.01)
    monkeypatch.setattr(shapes, "SHARE", 1)
    async with opened(folder) as store, running(store, Time()) as site:
        indexing = Indexing(site, ontologies=load_core)
        checks = ShapeChecks(site, indexing, checker)
        indexing.start()
        checks.start()

        async def change(*changes):
            await site.ledger.change("user:op", lambda _: changes)

        try:
            yield checks, change
        finally:
            await checks.stop()
            await indexing.stop()


def said(checks, name=W):
    return [f["message"] for f in checks.shown(name, lambda _: True)]


async def test_what_is_registered_is_checked_afterwards(tmp_path, monkeypatch):
    async with checking(tmp_path, monkeypatch) as (checks, change):
        await change(type(registered())(HALL))
        assert checks.of(W) == ((), True)
        await until(lambda: not checks.of(W).pending, 15)
        assert any("no model of this site knows this place" in text for text in said(checks))
        assert any("exactly this name" in text for text in said(checks))
        await change(OntologyLoaded(OntologyRecord("house", "user:op", PLACE, 1)))
        await until(lambda: len(said(checks)) == 1 and not checks.of(W).pending)
        assert "exactly this name" in said(checks)[0]
        assert not checks.failed
        await change(Deregistered(A))
        assert W not in checks._found
        assert not checks.waiting


async def test_a_change_waits_for_no_check_and_many_changes_are_one_check(tmp_path, monkeypatch):
    slow = Slow()
    slow.gate.clear()
    async with checking(tmp_path, monkeypatch, slow) as (checks, change):
        for generation in range(1, 6):
            async with asyncio.timeout(5):
                await change(registered(generation=generation))
        await until(lambda: slow.asked)
        await change(registered(generation=6))
        await change(registered(generation=7))
        slow.gate.set()
        await until(lambda: not checks.of(W).pending)
        assert len(slow.asked) == 2
        assert said(checks) == ["odd"]


async def test_too_many_wait_for_being_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "QUEUE", 1)
    slow = Slow()
    slow.gate.clear()
    async with checking(tmp_path, monkeypatch, slow) as (checks, change):
        others = [registered(A._replace(instance=str(n)), obj=Name(f"s/o{n}")) for n in range(4)]
        await change(*others)
        assert checks.waiting == 1
        assert checks.skipped == 3
        slow.gate.set()
        await until(lambda: checks.done == 1)
        assert checks.of(Name("s/o3")).pending
        await until(lambda: checks.done == 2)


async def test_members_that_may_not_be_seen_are_not_spoken_of(tmp_path, monkeypatch):
    slow = Slow()
    slow.answer = Answered((Finding("urn:hilum:s/w/ask", "warning", "member"),))
    async with checking(tmp_path, monkeypatch, slow) as (checks, change):
        await change(registered())
        await until(lambda: not checks.of(W).pending)
        assert said(checks) == ["member"]
        assert checks.shown(W, lambda name: name != "s/w/ask") == []


async def test_a_process_that_dies_costs_one_check(tmp_path, monkeypatch):
    checker = Checker((sys.executable, "-c", "pass"))
    async with checking(tmp_path, monkeypatch, checker) as (checks, change):
        await change(registered())
        await until(lambda: checks.failed == 1, 15)
        assert not checks.of(W).pending
        checker._command = COMMAND
        await change(registered(generation=2))
        await until(lambda: checks.done == 1, 15)


@pytest.mark.parametrize("script", ["import time; time.sleep(60)", "print('no json')", "raise"])
async def test_a_process_that_answers_nothing_is_ended(script, monkeypatch):
    monkeypatch.setattr("gateway.directory.checker.SECONDS", 0.5)
    checker = Checker((sys.executable, "-c", script))
    assert (await checker.check("")).error
    assert checker._process is None


async def test_the_process_ends_with_the_site():
    checker = Checker()
    assert not (await checker.check("")).error
    process = checker._process
    process.stdin.close()
    async with asyncio.timeout(10):
        assert await process.wait() == 0
    await checker.stop()


def test_what_is_asked_is_one_line():
    assert b"\n" not in msgspec.json.encode(Asked("a\nb"))
