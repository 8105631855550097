"""Revocation, expiry and deny act in memory first, and are retried until they are written."""

import asyncio

import pytest

from gateway.message import Refusal, Status, Unwritten
from policy.model import Action, Principal
from registry.changes import Batch, Deregistered, Expired, encode
from registry.names import Name
from tests.gateway.sites import (
    ASK,
    A,
    B,
    Time,
    applied,
    change,
    issued,
    opened,
    record,
    registered,
    resolution,
    rule,
    running,
    until,
)

ANN = Principal("user:ann", "user")
CALL = Action.CALL


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr("gateway.ledger.RETRY_SECONDS", 0.01)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
async def store(tmp_path):
    async with opened(tmp_path) as store:
        yield store


@pytest.fixture
async def site(store, time):
    async with running(store, time) as site:
        yield site


def targets(site, name=ASK):
    return [t.registration.instance for t in site.view.find(name).selection.targets()]


# --- revocation ------------------------------------------------------------------------------


async def test_a_revoked_token_is_dead_at_once_even_when_the_disk_is_full(store, time, site):
    ended = []
    site.watchers.credential.append(ended.extend)
    await change(site, issued("t"))
    store.break_down()
    assert not await site.revoke("site:admin", "t")
    assert site.identity.tokens.known("user:ann", 0) is None
    assert ended == ["t"]
    assert "t" in site.catalog.tokens
    assert site.ledger.owed == 1
    store.recover()
    await until(lambda: site.ledger.owed == 0)
    async with running(store, time) as again:
        assert again.identity.tokens.known("user:ann", 0) is None


async def test_a_revocation_is_durable_when_the_disk_writes(store, site):
    await change(site, issued("t"))
    assert await site.revoke("site:admin", "t")
    assert "t" not in site.catalog.tokens
    assert await site.revoke("site:admin", "t")
    assert await store.head() == 2


# --- leases ----------------------------------------------------------------------------------


async def test_a_lease_that_runs_out_takes_its_bindings_at_once(store, time, site):
    await change(site, registered(A), registered(B, lease=600))
    time.pass_by(59)
    assert site.due(time.loop) == []
    time.pass_by(1)
    store.break_down()
    due = site.due(time.loop)
    assert due == [Expired(A, 1)]
    await site.expire(due)
    assert targets(site) == ["b"]
    assert site.catalog.registrations[A].live
    assert site.due(time.loop) == []
    store.recover()
    await until(lambda: not site.catalog.registrations[A].live)
    assert targets(site) == ["b"]


async def test_a_renewal_begins_the_lease_anew(time, site):
    await change(site, registered(A))
    time.pass_by(50)
    assert site.renew(A) == 60
    time.pass_by(59)
    assert site.due(time.loop) == []
    time.pass_by(1)
    assert len(site.due(time.loop)) == 1
    assert site.renew(B) is None


async def test_a_lease_that_ran_out_cannot_be_renewed_before_the_log_says_so(store, time, site):
    """Its bindings are gone already: the service has to hear that it must register again."""
    await change(site, registered(A))
    time.pass_by(60)
    store.break_down()
    await site.expire(site.due(time.loop))
    assert site.renew(A) is None
    store.recover()
    await until(lambda: not site.catalog.registrations[A].live)
    assert site.renew(A) is None


async def test_a_registration_overtakes_its_own_expiry(store, time, site):
    """The order of the log decides, and the generation keeps a late expiry from harm."""
    await change(site, registered(A))
    time.pass_by(60)
    due = site.due(time.loop)
    store.break_down()
    await site.expire(due)
    assert targets(site) == []
    store.recover()
    await change(site, registered(A, generation=2))
    await until(lambda: site.ledger.owed == 0)
    assert site.catalog.registrations[A].live
    assert targets(site) == ["a"]
    assert site.renew(A) == 60


async def test_an_expiry_of_what_was_replaced_or_removed_meanwhile_does_nothing(store, time, site):
    await change(site, registered(A), registered(B))
    time.pass_by(60)
    due = site.due(time.loop)
    await change(site, registered(A, generation=2), Deregistered(B))
    await site.expire(due)
    assert targets(site) == ["a"]
    await until(lambda: site.ledger.owed == 0)
    assert await store.head() == 2


async def test_every_lease_gets_one_full_period_after_a_restart(store, time, site):
    await change(site, registered(A), registered(B), Expired(B, 1))
    time.pass_by(55)
    async with running(store, time) as again:
        time.pass_by(59)
        assert again.due(time.loop) == []
        time.pass_by(1)
        assert again.due(time.loop) == [Expired(A, 1)]


async def test_a_thousand_leases_that_run_out_together_are_a_few_entries(store, time, site):
    ids = [A._replace(instance=str(n)) for n in range(1000)]
    await change(site, *(registered(i, obj=Name(f"s/w{i.instance}")) for i in ids))
    time.pass_by(60)
    await site.expire(site.due(time.loop))
    assert targets(site, Name("s/w7/ask")) == []
    await until(lambda: site.ledger.owed == 0)
    assert not any(r.live for r in site.catalog.registrations.values())
    assert await store.head() == 1 + 10


# --- denies ----------------------------------------------------------------------------------


def applying(*changes):
    return lambda catalog: changes


async def test_a_deny_is_in_force_at_once_and_written_when_the_disk_can(store, time, site):
    told = []
    site.watchers.access.append(lambda: told.append(site.allowed(ANN, CALL, ASK)))
    await change(site, applied("all", rule("allow")))
    store.break_down()
    assert not await site.enact("site:admin", applying(applied("no", rule("deny", CALL))))
    assert not site.allowed(ANN, CALL, ASK)
    assert site.allowed(ANN, Action.SUBSCRIBE, ASK)
    assert told == [True, False]
    assert ("AccessPolicy", "no") not in site.catalog.policies
    store.recover()
    await until(lambda: site.ledger.owed == 0)
    assert ("AccessPolicy", "no") in site.catalog.policies
    assert not site.allowed(ANN, CALL, ASK)
    await change(site, applied("no", rule("deny", CALL, names="other"), 2))
    assert site.allowed(ANN, CALL, ASK)


async def test_a_deny_is_in_force_before_its_append_returns(store, site):
    await change(site, applied("all", rule("allow")))
    store.gate.clear()
    deny = applied("no", rule("deny", CALL))
    enacting = asyncio.create_task(site.enact("site:admin", applying(deny)))
    await until(lambda: store.appends == 2)
    assert not site.allowed(ANN, CALL, ASK)
    store.gate.set()
    assert await enacting
    assert not site.allowed(ANN, CALL, ASK)
    decision = site.plane.access.check(ANN, CALL, ASK, "")
    assert [r.policy for r in decision.reasons] == ["AccessPolicy/no"]


async def test_a_narrower_deny_grants_nothing_before_it_is_written(store, site):
    """It stands beside the one that it replaces until then."""
    other = Name("s/other/ask")
    await change(site, applied("all", rule("allow")), applied("no", rule("deny", CALL)))
    store.break_down()
    narrower = applied("no", rule("deny", CALL, names="w/**"), 2)
    assert not await site.enact("site:admin", applying(narrower))
    assert not site.allowed(ANN, CALL, other)
    store.recover()
    await until(lambda: site.allowed(ANN, CALL, other))
    assert not site.allowed(ANN, CALL, ASK)


async def test_an_allow_is_not_in_force_before_it_is_written(store, site):
    store.break_down()
    with pytest.raises(Unwritten, match="nothing was changed"):
        await site.enact("site:admin", applying(applied("all", rule("allow"))))
    assert not site.allowed(ANN, CALL, ASK)
    assert site.ledger.owed == 0
    store.recover()
    assert await site.enact("site:admin", applying(applied("all", rule("allow"))))
    assert site.allowed(ANN, CALL, ASK)


async def test_of_a_mixed_file_only_the_denies_are_in_force_and_it_says_so(store, site):
    await change(site, applied("all", rule("allow")))
    store.break_down()
    both = [applied("no", rule("deny", CALL)), applied("r", resolution())]
    with pytest.raises(Unwritten, match="only the policies that deny are in force") as refused:
        await site.enact("site:admin", applying(*both))
    assert refused.value.status is Status.UNAVAILABLE
    assert not site.allowed(ANN, CALL, ASK)
    store.recover()
    await until(lambda: site.ledger.owed == 0)
    assert set(site.catalog.policies) == {("AccessPolicy", "all"), ("AccessPolicy", "no")}


async def test_a_deny_that_is_refused_is_lifted(store, site):
    """For example because somebody else changed the policy meanwhile."""
    await change(site, applied("all", rule("allow")))
    asked = 0

    def plan(catalog):
        nonlocal asked
        asked += 1
        if asked > 1:
            raise Refusal(Status.CONFLICT, "it is at revision 7")
        return [applied("no", rule("deny", CALL))]

    with pytest.raises(Refusal, match="revision 7"):
        await site.enact("site:admin", plan)
    assert site.allowed(ANN, CALL, ASK)


async def test_an_owed_deny_that_has_become_pointless_is_lifted(store, site, caplog):
    await change(site, applied("all", rule("allow")))

    def plan(catalog):
        if ("AccessPolicy", "newer") in catalog.policies:
            raise Refusal(Status.CONFLICT, "it is at revision 7")
        return [applied("no", rule("deny", CALL))]

    store.break_down()
    assert not await site.enact("site:admin", plan)
    newer = Batch(1, "site:admin", (applied("newer", rule("allow")),))
    await store._store.append(1, [encode(newer)])
    await until(lambda: site.allowed(ANN, CALL, ASK))
    assert site.ledger.owed == 0
    assert "pointless: it is at revision 7" in caplog.text


async def test_the_same_deny_again_while_it_is_owed_is_owed_once(store, site):
    await change(site, applied("all", rule("allow")))
    store.break_down()
    for names in ("w/ask", "w/**"):
        deny = applied("no", rule("deny", CALL, names=names))
        assert not await site.enact("site:admin", applying(deny))
    assert site.ledger.owed == 1
    assert not site.allowed(ANN, CALL, ASK)
    assert not site.allowed(ANN, CALL, Name("s/w/other"))
    store.recover()
    await until(lambda: site.ledger.owed == 0)
    assert not site.allowed(ANN, CALL, Name("s/w/other"))
    assert site.catalog.policies["AccessPolicy", "no"] == record(
        "no", rule("deny", CALL, names="w/**")
    )


async def test_nothing_to_change_is_durable(site):
    assert await site.enact("site:admin", applying())
