"""What traffic of the last minutes would be decided differently by policies that are only tried."""

import pytest

from gateway.recent import QUESTIONS, SECONDS, SHOWN
from policy.language import ManifestDoc
from policy.model import Action, Policy, Principal
from registry.names import Name
from tests.gateway.sites import (
    ASK,
    Time,
    applied,
    change,
    opened,
    registered,
    resolution,
    rule,
    running,
)

ANN = Principal("user:ann", "user")
BOB = Principal("user:bob", "user")
CALL = Action.CALL


def document(name: str, spec: Policy) -> ManifestDoc:
    return ManifestDoc(type(spec).__name__, name, {}, 0, spec)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
async def site(tmp_path, time):
    async with opened(tmp_path) as store, running(store, time) as site:
        await change(site, registered(), applied("all", rule("allow", who="user:ann")))
        yield site


def preview(site, *documents):
    return site.policies.different_decisions(documents)


async def test_what_would_be_decided_differently_is_told_with_the_reason(site):
    site.allowed(ANN, CALL, ASK)
    site.allowed(BOB, CALL, ASK)
    deny = document("no", rule("deny", CALL, names="w/**"))
    assert await preview(site, deny) == [
        "user:ann call s/w/ask: was allowed, would be denied "
        "(deny by AccessPolicy/no: anybody may not call s/w/**; "
        "allow by AccessPolicy/all: user:ann may call s/**)"
    ]
    allow = document("all", rule("allow"))
    assert await preview(site, allow) == [
        "user:bob call s/w/ask: was denied, would be allowed "
        "(allow by AccessPolicy/all: anybody may call s/**)"
    ]
    assert site.allowed(ANN, CALL, ASK)
    assert not site.allowed(BOB, CALL, ASK)


async def test_policies_that_change_nothing_change_no_decision(site):
    site.allowed(ANN, CALL, ASK)
    assert await preview(site) == []
    assert await preview(site, document("r", resolution())) == []


async def test_it_is_compared_with_what_was_decided_not_with_what_would_be_now(site):
    site.allowed(ANN, CALL, ASK)
    await change(site, applied("no", rule("deny", CALL)))
    assert len(await preview(site)) == 1


async def test_only_the_last_minutes_count(site, time):
    site.allowed(ANN, CALL, ASK)
    time.pass_by(SECONDS + 1)
    assert await preview(site, document("no", rule("deny"))) == []


async def test_what_is_asked_all_the_time_stays_recent(site, time):
    """Its decision is cached, but not for ever."""
    for _ in range(30):
        site.allowed(ANN, CALL, ASK)
        time.pass_by(60)
        await site.sweep_tokens()
    site.allowed(ANN, CALL, ASK)
    assert len(await preview(site, document("no", rule("deny")))) == 1


async def test_who_may_describe_what_is_no_traffic(site):
    site.allowed(ANN, Action.DESCRIBE, ASK)
    assert await preview(site, document("no", rule("deny"))) == []


async def test_the_memory_is_bounded_and_the_answer_is_short(site):
    for number in range(QUESTIONS + 50):
        site.allowed(ANN, CALL, Name(f"s/x{number}"))
    found = await preview(site, document("no", rule("deny")))
    assert len(found) == SHOWN + 1
    assert found[-1] == f"and {QUESTIONS - SHOWN} more"
    assert "s/x50:" in found[0]


async def test_a_question_that_is_asked_again_is_remembered_anew(site):
    for number in range(QUESTIONS):
        site.allowed(ANN, CALL, Name(f"s/x{number}"))
    site.plane.access.forget()
    site.allowed(ANN, CALL, Name("s/x0"))
    site.allowed(ANN, CALL, Name("s/new"))
    found = await preview(site, document("no", rule("deny")))
    assert "s/x2:" in found[0]
