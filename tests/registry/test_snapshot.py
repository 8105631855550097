"""A snapshot holds the whole catalog: what is loaded equals what was dumped, whatever the log."""

import threading

import pytest
from hypothesis import given

from registry.catalog import Catalog
from registry.changes import (
    Change,
    CredentialIssued,
    ObjectCreated,
    OntologyLoaded,
    PolicyApplied,
    PrincipalRevoked,
    TokenIssued,
)
from registry.model import CredentialRecord, Kind, OntologyRecord, PolicyRecord, TokenRecord
from registry.names import Name
from registry.snapshot import dump, load
from tests.registry.test_catalog import A1, B1, apply, described, logs, obj, registered, tables


def loaded(catalog: Catalog) -> Catalog:
    copy = Catalog()
    load(copy, list(dump(catalog)))
    return copy


def order(catalog: Catalog) -> tuple[list[object], ...]:
    return (
        list(catalog.names),
        list(catalog.registrations),
        list(catalog.policies),
        list(catalog.tokens),
    )


@given(logs)
def test_what_is_loaded_equals_what_was_dumped(log: list[Change]) -> None:
    catalog = Catalog()
    apply(catalog, *log)
    copy = loaded(catalog)
    assert tables(copy) == tables(catalog)
    assert order(copy) == order(catalog)


@given(logs, logs)
def test_a_snapshot_and_the_rest_of_the_log_equal_the_whole_log(
    first: list[Change], second: list[Change]
) -> None:
    catalog = Catalog()
    apply(catalog, *first)
    copy = loaded(catalog)
    assert apply(copy, *second) == apply(catalog, *second)
    assert tables(copy) == tables(catalog)


def test_a_name_of_another_kind_in_a_later_object_does_not_take_over() -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")), ObjectCreated(A1, obj("w/m", "x")))
    assert catalog.names[Name("s/w/m")].kind is Kind.METHOD
    assert tables(loaded(catalog)) == tables(catalog)


def test_every_kind_of_record_is_there() -> None:
    catalog = Catalog()
    apply(
        catalog,
        registered(A1, obj("w", "m", "c"), generation=7),
        registered(B1, obj("w", "m"), owner="user:b"),
        PolicyApplied(PolicyRecord("AccessPolicy", "p", 3, "user:a", "{}", {"a": "b"})),
        TokenIssued(TokenRecord("t", "00", "user:a", "k", 1, 2, "note", {"a": "b"})),
        CredentialIssued(CredentialRecord("c", "psk", "x", "00", "device:x", "device", 1, 2, "n")),
        PrincipalRevoked("user:a", 3),
        described("urn:w", "w"),
        OntologyLoaded(OntologyRecord("o", "user:a", "", 1)),
    )
    copy = loaded(catalog)
    assert tables(copy) == tables(catalog)
    assert copy.generation == 7
    # Definitions are written once: a name's offer is the registration's own object again.
    offer = copy.names[Name("s/w")].offers[0]
    assert offer.definition is copy.registrations[A1].objects[0]


def test_changes_after_the_dump_began_are_not_in_it() -> None:
    """Encoding happens in another thread while the catalog moves on."""
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")))
    before = tables(catalog)
    records = dump(catalog)
    apply(catalog, registered(B1, obj("v", "n")), ObjectCreated(A1, obj("x", "y")))
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.extend(records))
    thread.start()
    thread.join()
    copy = Catalog()
    load(copy, found)
    assert tables(copy) == before


def test_an_empty_catalog_has_a_snapshot() -> None:
    assert tables(loaded(Catalog())) == tables(Catalog())


@pytest.mark.parametrize("lost", [0, -1])
def test_a_dump_that_is_not_whole_is_refused(lost: int) -> None:
    catalog = Catalog()
    apply(catalog, registered(A1, obj("w", "m")))
    records = list(dump(catalog))
    del records[lost]
    with pytest.raises(ValueError, match="snapshot"):
        load(Catalog(), records)


@pytest.mark.parametrize("record", [b"", b"{}", b'{"type":"later"}', b'{"type":"name"}'])
def test_a_record_that_is_none_is_refused(record: bytes) -> None:
    with pytest.raises(ValueError):
        load(Catalog(), [record])
