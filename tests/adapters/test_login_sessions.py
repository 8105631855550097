"""Sessions and begun logins: how long they last, whose they are, when they end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.control.attempts import SECONDS, Attempts
from adapters.control.sessions import PER_PRINCIPAL, Sessions
from policy.identity.claims import Verified
from policy.identity.jwt import BadToken
from policy.model import Principal

NOW = 1_000_000.0


def who(name: str = "ann", issued: float = NOW) -> Verified:
    return Verified(Principal(f"corp:{name}", "user", expires=NOW + 60), issued)


@pytest.fixture
def sessions():
    return Sessions(limit=100, idle=600, lifetime=3600)


def test_a_session_is_found_by_its_secret_alone(sessions):
    secret = sessions.begin(who(), NOW)
    session = sessions.find(secret, NOW)
    assert session.principal.id == "corp:ann"
    assert session.principal.method == "session"
    assert session.csrf not in ("", secret)
    for wrong in ("", session.csrf, session.principal.credential, secret[:-1]):
        assert sessions.find(wrong, NOW) is None


def test_it_ends_unused_and_after_its_lifetime(sessions):
    secret = sessions.begin(who(), NOW)
    now = NOW
    while now < NOW + 3599:
        assert sessions.find(secret, now)
        now += 599
    assert sessions.find(secret, NOW + 3600) is None
    unused = sessions.begin(who(), NOW)
    assert sessions.find(unused, NOW + 600) is None
    assert len(sessions) == 0


def test_it_ends_by_logout(sessions):
    secret = sessions.begin(who(), NOW)
    session = sessions.find(secret, NOW)
    assert sessions.holds(session.principal)
    sessions.end(session)
    sessions.end(session)
    assert sessions.find(secret, NOW) is None
    assert not sessions.holds(session.principal)


def test_revoking_a_principal_ends_its_sessions_and_old_tokens(sessions):
    anns, bobs = sessions.begin(who(), NOW), sessions.begin(who("bob"), NOW)
    session = sessions.find(anns, NOW)
    assert sessions.known("corp:ann", NOW) is session.principal
    assert sessions.known("corp:ann", NOW + 600) is None
    assert sessions.void("corp:ann", int(NOW)) == [session.principal.credential]
    assert sessions.find(anns, NOW) is None
    assert sessions.known("corp:ann", NOW) is None
    assert sessions.find(bobs, NOW)
    with pytest.raises(BadToken, match="revoked"):
        sessions.begin(who(), NOW)
    assert sessions.begin(who(issued=NOW + 1), NOW + 1)


def test_there_are_not_too_many():
    sessions = Sessions(limit=20, idle=600, lifetime=3600)
    others = [sessions.begin(who(f"user{n}"), NOW + n) for n in range(4)]
    own = [sessions.begin(who(), NOW + 10 + n) for n in range(PER_PRINCIPAL + 3)]
    assert len(sessions) == 20
    assert [bool(sessions.find(one, NOW + 50)) for one in own[:4]] == [False] * 3 + [True]
    assert all(sessions.find(one, NOW + 50) for one in others)
    for n in range(30):
        sessions.begin(who(f"new{n}"), NOW + 60)
    assert len(sessions) == 20
    sessions.begin(who(), NOW + 700)
    assert len(sessions) == 1, "what is over makes room"


def test_an_attempt_is_found_by_its_cookie_and_state():
    attempts = Attempts()
    cookie, attempt = attempts.begin(NOW)
    assert attempts.find(cookie, attempt.state, NOW + SECONDS) == attempt
    assert attempts.find(cookie, attempt.state, NOW + SECONDS + 1) is None
    assert attempts.find(cookie, attempt.state, NOW - 1) is None
    assert attempts.find(cookie, attempt.nonce, NOW) is None
    other, _ = attempts.begin(NOW)
    assert attempts.find(other, attempt.state, NOW) is None
    assert Attempts().find(cookie, attempt.state, NOW) is None, "of another process"
    younger = f"{int(NOW) + 100}.{cookie.partition('.')[2]}"
    assert attempts.find(younger, attempt.state, NOW + 100) is None
    assert len({*attempt, attempt.challenge}) == 4
    assert len(attempt.verifier) == 43  # RFC 7636 section 4.1: at least that


@given(st.text(max_size=80), st.text(max_size=80))
def test_made_up_attempts_are_not_found(cookie, state):
    attempts = Attempts()
    assert attempts.find(cookie, state, NOW) is None
    real, attempt = attempts.begin(NOW)
    assert attempts.find(cookie, attempt.state, NOW) is None
    assert attempts.find(real, state, NOW) is None
