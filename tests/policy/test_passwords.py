"""Chosen passwords: only argon2's text is kept, and an unknown user takes as long to refuse."""

import pytest

from policy.identity import passwords
from policy.identity.passwords import hash_password, is_password, is_verifier, problem_of

SALT = bytes(16)


def test_a_password_is_known_by_its_verifier() -> None:
    verifier = hash_password("correct horse", SALT)
    assert is_verifier(verifier)
    assert is_password(verifier, "correct horse")
    for wrong in ("correct horses", "", "correct horse" * 1000, "\udcff"):
        assert not is_password(verifier, wrong)
    assert hash_password("correct horse", b"\x01" * 16) != verifier


def test_the_same_letters_are_the_same_password() -> None:
    assert is_password(hash_password("caf\u00e9 au lait", SALT), "cafe\u0301 au lait")


def test_nobodys_verifier_costs_the_same_and_fits_nothing() -> None:
    assert is_verifier(passwords.UNKNOWN)
    assert not is_password(passwords.UNKNOWN, "")
    mine = hash_password("correct horse", SALT)
    assert mine.split("$")[:4] == passwords.UNKNOWN.split("$")[:4]


@pytest.mark.parametrize(
    "text", ["", "x", "$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43]
)
def test_other_verifiers_are_none(text: str) -> None:
    assert not is_verifier(text)
    assert not is_password("$argon2id$broken", "x")


@pytest.mark.parametrize("text", ["short", "x" * 257, "a\tbcdefgh"])
def test_what_cannot_be_chosen(text: str) -> None:
    assert problem_of(text)
    assert not problem_of("long enough")
