"""What the directory keeps and tells of a site: views, the feed of changes, expiry."""

import json
from dataclasses import dataclass

import msgspec
import pytest

from gateway.directory.expiry import Expiries, expires_of
from gateway.directory.feed import CREATED, DELETED, UPDATED, Feed, Position, position_of
from gateway.directory.telling import Telling, difference
from gateway.directory.views import Views
from gateway.message import Refusal
from gateway.site import Identity, Site
from policy.model import Action, Principal
from registry.changes import Deregistered, ObjectCreated, ThingDescribed, ThingForgotten
from registry.model import EventChannel, Method, RegistrationId, ThingRecord, VirtualObject
from registry.names import Name
from registry.things.view import Bases
from tests.gateway.play import ScriptedProvider
from tests.gateway.sites import (
    A,
    B,
    Time,
    W,
    applied,
    change,
    opened,
    registered,
    rule,
    running,
    until,
)

START = Position(0)
BASES = Bases(http="http://127.0.0.1:8080")
ADMIN = Principal("site:admin", "administrator")


def described(text: str, id_: str = "urn:x:w", **how: int) -> ThingDescribed:
    made = {"created": 1, "modified": 1, "revision": 1, **how}
    return ThingDescribed(ThingRecord(id_, W, A, "svc:w", text, **made))


def text(id_: str = "urn:x:w", **more: object) -> str:
    document = {
        "@context": "https://www.w3.org/2022/wot/td/v1.1",
        "id": id_,
        "title": "W",
        "securityDefinitions": {"n": {"scheme": "nosec"}},
        "security": "n",
        "actions": {"ask": {"forms": [{"href": "http://a.test/ask"}]}},
        **more,
    }
    return json.dumps(document)


@dataclass
class Parts:
    site: Site
    views: Views
    feed: Feed
    expiries: Expiries


def parts(site: Site, kept: int = 100) -> Parts:
    made = Parts(site, Views(site, BASES), Feed(site, kept), Expiries(site))
    made.views.load()
    made.feed.load()
    made.expiries.load()
    return made


def told(feed: Feed, after: Position = START) -> list[tuple[str, str]]:
    return [(each.type, each.id) for each in feed.after(after)]


async def test_a_damaged_record_never_breaks_a_listing(tmp_path, caplog):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        directory = parts(site)
        other = Name("s/other")
        await change(site, registered(A), registered(B, obj=other), described("{ not json"))
        assert list(directory.views.names()) == [other, W]
        shown = [directory.views.of(name) for name in directory.views.names()]
        assert [view and view["id"] for view in shown] == ["urn:hilum:s/other", "urn:x:w"]
        assert "ask" in shown[1]["actions"]
        assert "the description of s/w is damaged" in caplog.text


async def test_views_follow_what_comes_and_goes(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        directory = parts(site)
        views = directory.views
        await change(site, registered(A))
        assert (views.id_of(W), views.name_of("urn:hilum:s/w")) == ("urn:hilum:s/w", W)
        await change(site, described(text()))
        assert (list(views.ids()), views.name_of("urn:hilum:s/w")) == (["urn:x:w"], None)
        assert views.of(W)["title"] == "W"
        await change(site, Deregistered(A), ThingForgotten("urn:x:w"))
        assert (list(views.ids()), views.of(W), views.id_of(W)) == ([], None, None)
        again = Views(site, BASES)
        again.load()
        assert list(again.ids()) == []


async def test_what_is_seen_whole_is_encoded_once_until_it_changes(tmp_path, monkeypatch):
    ann, bob = Principal("user:ann", "user"), Principal("user:bob", "user")
    async with opened(tmp_path) as store, running(store, Time()) as site:
        views = parts(site).views

        def agrees(who=None):
            body, view = views.encoded(W, who), views.of(W, who)
            assert body == (None if view is None else msgspec.json.encode(view))
            return body

        assert agrees() is None
        allowed, hidden = rule("allow", Action.DESCRIBE), rule("deny", names="s/w/ask", who=bob.id)
        await change(site, registered(A), described(text()))
        await change(site, applied("all", allowed), applied("ask", hidden))
        first = agrees(ann)
        assert views.encoded(W, ann) is first is views.encoded(W)
        assert b"/ask" not in agrees(bob)
        assert b"/ask" in first
        await change(site, described(text(description="new"), revision=2))
        assert b"new" in agrees(ann)
        views.bases = Bases(http="http://else.test")
        assert b"else.test" in agrees(ann)
        monkeypatch.setattr("gateway.directory.views.KEPT", 1)
        await change(site, registered(B, obj=Name("s/other")))
        before = views.encoded(W)
        assert views.encoded(Name("s/other"))
        assert agrees(ann) == before
        assert views.encoded(W) is not before


async def test_the_feed_tells_each_object_once_for_an_entry(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        feed = parts(site).feed
        await change(site, registered(A), described(text()))
        assert told(feed) == [(CREATED, "urn:x:w")]
        await change(site, described(text(title="2"), revision=2))
        run_time = VirtualObject(
            "s/w/new", methods={"go": Method()}, channels={"c": EventChannel()}
        )
        await change(site, ObjectCreated(A, run_time))
        at = feed.head
        await change(site, Deregistered(A), ThingForgotten("urn:x:w"))
        assert told(feed)[1:3] == [(UPDATED, "urn:x:w"), (CREATED, "urn:hilum:s/w/new")]
        assert sorted(told(feed, at)) == [
            (DELETED, "urn:hilum:s/w/new"),
            (DELETED, "urn:x:w"),
        ]
        # What says the same again is no change.
        await change(site, registered(B, obj=Name("s/b")))
        at = feed.head
        await change(site, registered(B, obj=Name("s/b"), generation=2))
        assert told(feed, at) == []


async def test_the_feed_is_bounded_and_says_where_it_begins(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        feed = parts(site, kept=2).feed
        for number in range(4):
            id_ = RegistrationId("M", "1", str(number))
            await change(site, registered(id_, obj=Name(f"s/o{number}")))
        assert told(feed) == [(CREATED, "urn:hilum:s/o2"), (CREATED, "urn:hilum:s/o3")]
        assert feed.begin == Position(2)


async def test_the_feed_keeps_fewer_changes_of_large_descriptions(tmp_path):
    async with opened(tmp_path) as store, running(store, Time()) as site:
        feed = Feed(site, kept_bytes=100_000)
        feed.load()
        for number in range(40):
            more = text(note=f"{number}{'x' * 10_000}")
            await change(site, registered(A, obj=W), described(more, revision=number + 1))
        kept = feed.after(feed.begin)
        assert 1 <= len(kept) <= 5
        assert kept[-1].after.record.text == more
        assert feed.begin > Position(30)


async def test_the_feed_knows_again_after_a_restart_what_the_log_says(tmp_path):
    time = Time()
    async with opened(tmp_path) as store:
        async with running(store, time) as site:
            await change(site, registered(A), described(text()))
            await change(site, described(text(title="2"), revision=2))
            await change(site, applied("all", rule("allow", Action.DESCRIBE)))
        site = Site(Identity("s"), store, ScriptedProvider([]), time.clocks())
        feed = Feed(site)
        await site.start()
        feed.load()
        try:
            assert told(feed) == [(CREATED, "urn:x:w"), (UPDATED, "urn:x:w")]
            changed = Telling(site, Views(site, BASES)).data(
                feed.after(Position(1))[0], ADMIN, diff=True
            )
            assert (changed["id"], changed["title"]) == ("urn:x:w", "2")
        finally:
            await site.stop()


async def test_what_expires_is_forgotten_with_its_registration(tmp_path):
    time = Time()
    async with opened(tmp_path) as store, running(store, time) as site:
        directory = parts(site)
        soon = int(time.unix * 1000) + 1000
        await change(site, registered(A, lease=0), described(text(), expires=soon))
        directory.expiries.sweep()
        assert directory.views.of(W) is not None
        time.pass_by(2)
        assert directory.views.of(W) is None
        directory.expiries.sweep()
        await until(lambda: not site.catalog.things)
        assert W not in site.catalog.names
        # A description that was renewed meanwhile stays.
        await change(
            site, registered(A, lease=0, generation=3), described(text(), expires=soon + 1)
        )
        await change(site, described(text(), expires=soon + 10_000, revision=2))
        directory.expiries.sweep()
        await until(lambda: not site.ledger.owed)
        assert site.catalog.things


@pytest.mark.parametrize(
    "wrong", ["", "x", "1.", ".1", "1.2.3", "-1", "9" * 30, "\N{ARABIC-INDIC DIGIT ONE}"]
)
def test_positions_are_numbers(wrong):
    with pytest.raises(ValueError, match="no position"):
        position_of(wrong)


def test_positions_are_read_as_they_are_written():
    for at in (Position(0), Position(7, 3), Position(12, 0)):
        assert position_of(str(at)) == at
    assert Position(2) < Position(2, 1) < Position(3)


def test_a_difference_is_a_merge_patch():
    old = {"a": 1, "b": {"c": 1, "d": [1]}, "e": {"f": 1}, "g": True}
    new = {"a": 1, "b": {"c": 2, "d": [1]}, "e": 5, "h": {}}
    assert difference(old, new) == {"b": {"c": 2}, "e": 5, "g": None, "h": {}}
    assert difference(new, new) == {}


def test_a_time_to_live_counts_before_an_absolute_time():
    both = {"registration": {"ttl": 60, "expires": "2030-01-01T00:00:00Z"}}
    assert expires_of(both, 1000.0) == 1_060_000
    assert expires_of({"registration": {"expires": "1970-01-01T01:00:00+00:30"}}, 0.0) == 1_800_000
    assert expires_of({}, 0.0) == expires_of({"registration": {}}, 0.0) == 0
    for ttl in (True, float("nan"), float("inf"), 10**400):
        with pytest.raises(Refusal, match="ttl"):
            expires_of({"registration": {"ttl": ttl}}, 0.0)
