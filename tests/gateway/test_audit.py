"""What the audit log records, and that no flood makes it record more."""

import pytest

from gateway.seeing.audit import CATCH_UP, IN_ALL, MANY, PER_SOURCE, WINDOW, Audit, change_body
from gateway.seeing.chain import clean
from policy.decision import Decision, Reason
from policy.model import Action, Obligations, Principal
from registry import changes as ch
from registry.model import (
    CredentialRecord,
    OntologyRecord,
    PolicyRecord,
    Registration,
    RegistrationId,
    ThingRecord,
    TokenRecord,
    VirtualObject,
)
from registry.names import Name

ANN = Principal("user:ann", "user", method="token", credential="c1")
DENY = Decision(False, (Reason("AccessPolicy/night", "deny", "it is night"),))
ALLOW = Decision(True, (Reason("AccessPolicy/day", "allow", "user:*"),))
LOGGED = ALLOW._replace(obligations=Obligations(log=True))
A = Name("site/a")
ID = RegistrationId("plans", "1", "i")


class Book:
    def __init__(self, **settings):
        self.now = 1000.0
        self.notes = []
        self.audit = Audit(self.notes.append, lambda: self.now, **settings)

    def later(self, seconds):
        self.now += seconds
        self.audit.sweep()


@pytest.fixture
def book():
    return Book()


def test_a_denial_says_who_what_and_which_policy(book):
    book.audit.denied(ANN, Action.CALL, A, DENY)
    assert book.notes == [
        {
            "event": "denied",
            "principal": "user:ann",
            "action": "call",
            "name": "site/a",
            "kind": "user",
            "credential": "c1",
            "policy": "AccessPolicy/night",
            "reasons": ["deny by AccessPolicy/night: it is night"],
        }
    ]
    assert book.audit.denials == {"AccessPolicy/night": 1}


def test_what_is_denied_again_and_again_is_one_record_and_a_count(book):
    for _ in range(1000):
        book.audit.denied(ANN, Action.CALL, A, DENY)
        book.now += 0.001
    book.later(WINDOW)
    assert len(book.notes) == 2
    assert book.notes[1]["repeated"] == 999
    assert (book.notes[1]["first"], book.notes[1]["last"]) == (1000000, 1000999)
    book.later(WINDOW)
    assert len(book.notes) == 2
    book.audit.denied(ANN, Action.CALL, A, DENY)
    assert len(book.notes) == 3


def test_one_that_happened_once_is_not_told_again(book):
    book.audit.denied(ANN, Action.CALL, A, DENY)
    book.later(WINDOW)
    book.audit.flush()
    assert len(book.notes) == 1


def test_one_principal_has_few_records_however_many_names_it_tries(book):
    for number in range(10_000):
        book.audit.denied(ANN, Action.CALL, Name(f"site/{number}"), DENY)
    assert len(book.notes) == PER_SOURCE
    book.later(WINDOW)
    assert len(book.notes) == PER_SOURCE + 1
    last = book.notes[-1]
    assert (last["name"], last["repeated"]) == (MANY, 10_000 - PER_SOURCE)


def test_many_principals_together_have_a_bounded_number(book):
    for number in range(5 * IN_ALL):
        one = Principal(f"user:{number}", "user")
        for name in range(PER_SOURCE + 2):
            book.audit.denied(one, Action.CALL, Name(f"site/{name}"), DENY)
    assert IN_ALL - PER_SOURCE < len(book.notes) <= IN_ALL
    book.later(WINDOW)
    assert len(book.notes) <= 2 * IN_ALL + 2
    counted = sum(note.get("repeated", 1) for note in book.notes)
    assert counted == 5 * IN_ALL * (PER_SOURCE + 2)
    assert any(note.get("principal") == MANY for note in book.notes)


def test_many_principals_with_too_many_names_each_stay_bounded(book, monkeypatch):
    monkeypatch.setattr("gateway.seeing.audit.PER_SOURCE", 1)
    for number in range(4 * IN_ALL):
        one = Principal(f"user:{number % (IN_ALL // 2)}", "user")
        for action in Action:
            book.audit.denied(one, action, Name(f"site/{number}"), DENY)
    assert len(book.notes) <= IN_ALL
    book.later(WINDOW)
    assert len(book.notes) <= 3 * IN_ALL + len(Action)


def test_policies_that_deny_are_counted_up_to_a_bound(book):
    for number in range(IN_ALL + 5):
        decision = Decision(False, (Reason(f"AccessPolicy/{number}", "deny", ""),))
        book.audit.denied(ANN, Action.CALL, A, decision)
    assert len(book.audit.denials) == IN_ALL


def test_allows_are_recorded_when_a_policy_or_the_settings_want_it(book):
    book.audit.allowed(ANN, Action.CALL, A, ALLOW)
    assert book.notes == []
    book.audit.allowed(ANN, Action.CALL, A, LOGGED)
    assert book.notes[0]["event"] == "allowed"
    everything = Book(allows=True)
    everything.audit.allowed(ANN, Action.CALL, A, ALLOW)
    assert everything.notes[0]["policy"] == "AccessPolicy/day"


def test_logins_and_failed_ones_are_recorded(book):
    book.audit.authenticated(ANN, "mqtt", "10.0.0.1")
    for _ in range(3):
        book.audit.refused("10.0.0.2", "", "unknown")
    book.audit.refused("10.0.0.2", "ann", "wrong")
    book.audit.flush()
    assert book.audit.failures == 4
    assert book.notes == [
        {
            "event": "authenticated",
            "principal": "user:ann",
            "protocol": "mqtt",
            "peer": "10.0.0.1",
            "method": "token",
            "credential": "c1",
        },
        {"event": "refused", "peer": "10.0.0.2", "why": "unknown"},
        {"event": "refused", "peer": "10.0.0.2", "user": "ann", "why": "wrong"},
        {"event": "refused", "peer": "10.0.0.2", "repeated": 2, "first": 1000000, "last": 1000000},
    ]


def test_entries_of_the_change_log_are_recorded_once():
    book = Book(changes=3)
    batch = ch.Batch(7, "user:root", (ch.PolicyDeleted("AccessPolicy", "x"), ch.TokenRevoked("t")))
    book.audit.entered(3, batch)
    assert book.notes == []
    book.audit.entered(4, batch)
    book.audit.entered(4, batch)
    assert book.notes == [
        {
            "event": "policy-deleted",
            "policy": "AccessPolicy/x",
            "actor": "user:root",
            "at": 7,
            "log": 4,
        },
        {"event": "token-revoked", "credential": "t", "actor": "user:root", "at": 7, "log": 4},
    ]


def test_changes_that_a_snapshot_took_the_place_of_are_a_gap():
    book = Book(changes=3)
    book.audit.entered(10, ch.Batch(7, "user:root", ()))
    assert book.notes == [{"event": "gap", "changes": 6}]


def test_what_was_missed_is_caught_up_with_within_bounds():
    book = Book()
    book.audit.catch_up(10)
    assert (book.audit.changes, book.notes) == (0, [])
    book.audit.catch_up(CATCH_UP + 50)
    assert (book.audit.changes, book.notes) == (50, [])
    book.audit.catch_up(CATCH_UP + 80)
    assert book.notes == [{"event": "gap", "changes": 30}]


OBJECT = VirtualObject(Name("site/plan"))
CASES = [
    (
        ch.Registered(Registration(ID, "service:p", "::1", 60, 1, (OBJECT,) * 10)),
        {
            "registration": "plans/1/i",
            "owner": "service:p",
            "objects": ["site/plan"] * 8 + ["and 2 more"],
        },
    ),
    (
        ch.Registered(Registration(ID, "service:p", "::1", 60, 1, (OBJECT,))),
        {"registration": "plans/1/i", "owner": "service:p", "objects": ["site/plan"]},
    ),
    (ch.Deregistered(ID), {"registration": "plans/1/i"}),
    (ch.Expired(ID, 1), {"registration": "plans/1/i"}),
    (ch.ObjectCreated(ID, OBJECT), {"registration": "plans/1/i", "name": "site/plan"}),
    (ch.ObjectDestroyed(A), {"name": "site/a"}),
    (
        ch.ThingDescribed(ThingRecord("urn:a", A, ID, "service:p", "{}", 1, 1, 4)),
        {"thing": "urn:a", "name": "site/a", "revision": 4},
    ),
    (ch.ThingForgotten("urn:a"), {"thing": "urn:a"}),
    (
        ch.OntologyLoaded(OntologyRecord("plant", "user:root", "", 2)),
        {"ontology": "plant", "revision": 2},
    ),
    (ch.OntologyUnloaded("plant"), {"ontology": "plant"}),
    (
        ch.PolicyApplied(PolicyRecord("AccessPolicy", "x", 3, "user:root", "{}")),
        {"policy": "AccessPolicy/x", "revision": 3},
    ),
    (
        ch.PolicyApplied(PolicyRecord("AccessPolicy", "x", 3, "user:root", "{}", expires=9)),
        {"policy": "AccessPolicy/x", "revision": 3, "expires": 9},
    ),
    (ch.PolicyDeleted("Role", "r"), {"policy": "Role/r"}),
    (
        ch.TokenIssued(TokenRecord("t", "SECRET", "user:ann", "user", 1, 2)),
        {
            "credential": "t",
            "method": "token",
            "principal": "user:ann",
            "kind": "user",
            "expires": 2,
        },
    ),
    (
        ch.CredentialIssued(
            CredentialRecord("c", "psk", "SECRET", "SECRET", "device:a", "device", 1, 2)
        ),
        {
            "credential": "c",
            "method": "psk",
            "principal": "device:a",
            "kind": "device",
            "expires": 2,
        },
    ),
    (ch.TokenRevoked("t"), {"credential": "t"}),
    (ch.CredentialRevoked("c"), {"credential": "c"}),
    (ch.PrincipalRevoked("user:ann", 5), {"principal": "user:ann", "before": 5}),
]


@pytest.mark.parametrize(("change", "said"), CASES)
def test_every_change_says_what_it_is_about_and_no_secret(change, said):
    body = change_body(change)
    assert body.pop("event") == change.__struct_config__.tag
    assert body == said
    assert "SECRET" not in str(clean(body))


def test_every_kind_of_change_is_tried():
    assert {type(change) for change, _ in CASES} == set(ch.Change.__args__)
