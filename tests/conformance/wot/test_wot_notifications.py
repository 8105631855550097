"""The Events API of W3C WoT Discovery (section 7.3.2.2), clause by clause, over HTTP."""

import json

from tests.conformance.clauses import clause
from tests.conformance.wot.things import PATCH, DirectoryClient, new_id, path_of, thing
from tests.running import Gateway


@clause(
    "WOT-tdd-notification",
    "WOT-tdd-notification-sse",
    "WOT-tdd-notification-event-types",
    "WOT-tdd-notification-data",
    "WOT-tdd-notification-data-td-id",
)
def test_what_happens_to_descriptions_is_told(directory):
    with directory.events() as events:
        assert events.response.headers["Content-Type"].startswith("text/event-stream")
        id_ = directory.made()
        directory.ask("PATCH", path_of(id_), {"title": "x"}, PATCH)
        directory.ask("DELETE", path_of(id_))
        told = [events.next(id_) for _ in range(3)]
    assert [each.kind for each in told] == ["thing_created", "thing_updated", "thing_deleted"]
    assert [json.loads(each.data) for each in told] == [{"id": id_}] * 3


@clause("WOT-tdd-notification-filter-type")
def test_one_type_of_events_can_be_asked_for(directory):
    with directory.events("/events/thing_deleted") as events:
        id_ = directory.made()
        directory.ask("DELETE", path_of(id_))
        assert events.next(id_).kind == "thing_deleted"
    assert directory.ask("GET", "/events/thing_painted").status == 404
    assert directory.ask("GET", "/events?colour=red").status == 400


@clause(
    "WOT-tdd-notification-data-create-full",
    "WOT-tdd-notification-data-update-diff",
    "WOT-tdd-notification-data-update-id",
    "WOT-tdd-notification-data-delete-diff",
)
def test_what_has_changed_can_be_told_with_it(directory):
    with directory.events("/events?diff=true") as events:
        id_ = directory.made(description="old")
        directory.ask("PATCH", path_of(id_), {"title": "x", "description": None}, PATCH)
        directory.ask("DELETE", path_of(id_))
        created, updated, deleted = (json.loads(events.next(id_).data) for _ in range(3))
    assert (created["id"], created["title"]) == (id_, "Lamp")
    assert "forms" in created["actions"]["toggle"]
    assert updated.pop("registration")["modified"]
    assert updated == {"id": id_, "title": "x", "description": None}
    assert deleted == {"id": id_}


@clause("WOT-tdd-notification-event-id")
def test_who_comes_back_is_told_what_was_missed(directory):
    with directory.events() as events:
        first = directory.made()
        seen = events.next(first)
    missed = directory.made()
    with directory.events(after=seen.id) as events:
        told = events.next(missed)
        assert told.kind == "thing_created"
    assert directory.ask("GET", "/events", last_event_id="yesterday").status == 400


@clause("WOT-tdd-notification-event-id")
def test_also_after_a_restart_and_what_is_not_known_any_more_is_a_gap(tmp_path):
    rules = "[store]\nkeep_entries = 3\nsnapshot_every = 6\n"
    with Gateway(tmp_path, config=rules) as site:
        directory = DirectoryClient(site)
        with directory.events() as events:
            first = directory.made()
            early = events.next(first)
        ids = [directory.made() for _ in range(8)]
        with directory.events(after=early.id) as events:
            late = events.next(ids[-2])
        site.restart()
        with directory.events(after=late.id) as events:
            assert ids[-1] in events.next().data
        with directory.events(after=early.id) as events:
            gap = events.next()
            assert gap.kind == "gap"
            assert json.loads(gap.data)["after"] == early.id
        with directory.events(after="999999") as events:
            assert events.next().kind == "gap"
        told = site.ask("registry/changes", {"after": "999999"})
        assert told["missed"]
        assert told["next"] != "999999"


@clause("WOT-sec-tdd-intro-no-observe")
def test_nobody_hears_of_what_he_may_not_describe(directory, stranger):
    site = directory.site
    site.allow("wot-listener", {"principal": "user:stranger"}, "call", "$site/registry/changes")
    site.allow("wot-visible", {"principal": "user:stranger"}, "describe", "visible/**")
    try:
        with stranger.events() as events:
            directory.made()
            shown = new_id()
            directory.put(thing(shown, **{"hilum:name": f"visible/{shown[-8:]}"} | named()))
            event = events.next()
            assert shown in event.data
    finally:
        for name in ("wot-listener", "wot-visible"):
            site.ask("policy/delete", {"kind": "AccessPolicy", "name": name})
    assert stranger.ask("GET", "/events").status == 403


def named() -> dict[str, object]:
    return {
        "@context": ["https://www.w3.org/2022/wot/td/v1.1", {"hilum": "https://w3id.org/hilum#"}]
    }
