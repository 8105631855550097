"""Bearer tokens: their form, expiry, revocation, and the cache of headers."""

import hashlib
import re
import secrets

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.identity.tokens import Credentials, digest_of, is_kind, is_principal, new_token
from registry.model import TokenRecord


def make(principal: str = "iot:phone", lifetime: int = 60) -> tuple[str, TokenRecord]:
    return new_token(
        secrets.token_bytes, principal=principal, kind="device", now=1000.5, lifetime=lifetime
    )


def test_a_token_is_recognisable_and_only_its_hash_is_kept() -> None:
    numbers = iter((bytes(range(8)), b"\xff" * 32))
    secret, record = new_token(
        lambda size: next(numbers),
        principal="iot:phone",
        kind="device",
        now=1000.9,
        lifetime=60,
        note="kitchen",
        attributes={"room": "12"},
    )
    assert secret == f"hlm_0001020304050607_{'_' * 42}8"
    assert re.fullmatch(r"hlm_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", make()[0])
    assert record == TokenRecord(
        "0001020304050607",
        hashlib.sha256(secret.encode()).hexdigest(),
        "iot:phone",
        "device",
        1000,
        1060,
        "kitchen",
        {"room": "12"},
    )
    assert digest_of(secret) == record.digest


@pytest.mark.parametrize(
    ("principal", "kind", "lifetime", "why"),
    [
        ("phone", "device", 60, "realm:subject"),
        ("iot:*", "device", 60, "realm:subject"),
        ("iot:a b", "device", 60, "realm:subject"),
        ("iot:a\n", "device", 60, "realm:subject"),
        ("iot:é", "device", 60, "realm:subject"),
        ("iot:" + "a" * 191, "device", 60, "realm:subject"),
        ("iot:phone", "Device", 60, "no kind"),
        ("iot:phone", "", 60, "no kind"),
        ("anonymous:http", "device", 60, "anonymous"),
        ("iot:phone", "anonymous", 60, "anonymous"),
        ("iot:phone", "device", 0, "lifetime"),
        ("iot:phone", "device", 10**12, "lifetime"),
    ],
)
def test_what_cannot_be_a_token_is_refused(
    principal: str, kind: str, lifetime: int, why: str
) -> None:
    with pytest.raises(ValueError) as caught:
        new_token(secrets.token_bytes, principal=principal, kind=kind, now=0, lifetime=lifetime)
    assert why in str(caught.value)


@pytest.mark.parametrize("text", ["user:ann@example.org", "spiffe:site/ns/x", "auth0:a|b", "a:b:c"])
def test_ids_of_common_identity_providers_are_principals(text: str) -> None:
    assert is_principal(text)
    assert is_kind("smart-phone-2")


def test_a_token_says_who_presents_it_until_it_expires() -> None:
    known = Credentials()
    secret, record = make()
    assert known.principal_of(secret, 1000) is None
    known.put(record)
    principal = known.principal_of(secret, 1000)
    assert principal is not None
    assert (principal.id, principal.kind, principal.credential) == (
        "iot:phone",
        "device",
        record.id,
    )
    assert known.holds(principal)
    assert known.principal_of(secret, 1060) is None


def test_revocation_acts_at_once_and_on_what_is_open() -> None:
    known = Credentials()
    secret, record = make()
    other, other_record = make("iot:tablet")
    known.put(record)
    known.put(other_record)
    principal = known.principal_of(secret, 1000)
    tablet = known.principal_of(other, 1000)
    assert principal is not None
    assert tablet is not None
    known.remove(record.id)
    known.remove(record.id)
    assert known.principal_of(secret, 1000) is None
    assert known.principal_of(secret, 1000) is None
    assert not known.holds(principal)
    assert known.holds(tablet)
    assert known.principal_of(other, 1000) is tablet


def test_putting_the_same_record_again_keeps_sessions_and_a_new_one_ends_them() -> None:
    known = Credentials()
    secret, record = make()
    known.put(record)
    principal = known.principal_of(secret, 1000)
    assert principal is not None
    known.put(record)
    assert known.holds(principal)
    fresh = make()[1]
    known.put(TokenRecord(record.id, fresh.digest, record.principal, "device", 1000, 1060))
    assert not known.holds(principal)
    assert known.principal_of(secret, 1000) is None


def test_tokens_of_a_time_are_void() -> None:
    known = Credentials()
    secret, record = make()
    known.put(record)
    assert known.void("iot:phone", 999) == []
    assert known.void("iot:tablet", 2000) == []
    assert known.void("iot:phone", 1000) == [record.id]
    assert known.principal_of(secret, 1000) is None


def test_roles_are_a_list_of_names() -> None:
    known = Credentials()
    secret, record = make()
    known.put(msgspec.structs.replace(record, attributes={"roles": "nurse, lead", "room": "2"}))
    principal = known.principal_of(secret, 1000)
    assert principal is not None
    assert principal.roles == ("nurse", "lead")
    assert principal.attributes["room"] == "2"


@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str) -> None:
    known = Credentials()
    known.put(make()[1])
    assert known.principal_of(text, 1000) is None
