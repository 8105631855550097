"""Who a client is: headers, device secrets, chosen passwords, tokens of issuers, back-off."""

import asyncio
import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity import identity as module
from gateway.identity import jwt_cache
from gateway.identity.credentials import CredentialBook, withdrawn, withdrawn_principal
from gateway.identity.identity import Authentication, Pending, awaited
from gateway.identity.issuers import IssuerKeys
from gateway.message import Refusal, Status
from policy.identity import jwt
from policy.identity.claims import Expected
from policy.identity.credentials import new_secret
from policy.identity.passwords import hash_password
from policy.identity.tokens import new_token
from policy.model import ANONYMOUS, Principal
from registry.catalog import Catalog
from registry.changes import (
    CredentialIssued,
    CredentialRevoked,
    PrincipalRevoked,
    TokenIssued,
    TokenRevoked,
)
from registry.model import CredentialRecord, TokenRecord
from tests.issuers import AUDIENCE, URL, claims, jwks, key, token

PEER = "192.0.2.1"


def never(found: Principal | Refusal) -> None:
    raise AssertionError(found)


class World:
    """An Authentication whose clock is the test's."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.identity = Authentication(lambda: self.now, lambda: self.now)

    def token(self, principal: str = "iot:phone", lifetime: int = 60) -> tuple[str, TokenRecord]:
        secret, record = new_token(
            secrets.token_bytes, principal=principal, kind="device", now=self.now, lifetime=lifetime
        )
        self.identity.tokens.put(record)
        self.identity.forget()
        return secret, record

    def header(self, raw: bytes) -> Principal | None:
        found = self.identity.authorization(raw, self.now)
        if found is None:
            asked = self.identity.header(raw, PEER, never)
            assert not isinstance(asked, Pending)
            found = asked if isinstance(asked, Principal) else None
        return found

    def record(self, method: str, lookup: str, verifier: str, **more: object) -> CredentialRecord:
        said = {"principal": f"iot:{lookup}", "kind": "device", "issued": 1000, **more}
        record = CredentialRecord(f"{method}-{lookup}", method, lookup, verifier, **said)
        self.identity.records.put(record)
        return record

    def trust(self, *keys: object) -> IssuerKeys:
        expected = Expected(URL, "idp", frozenset({AUDIENCE}), frozenset(jwt.DEFAULT_ALGORITHMS))
        issuer = IssuerKeys(expected, lambda: self.now)
        self.identity.trust([issuer])
        if keys:
            issuer.fetched(jwt.read_keys(jwks(*keys)))
        return issuer

    def jwt(self, **more: object) -> str:
        return token(claims(self.now, **more))


@pytest.fixture
def world() -> World:
    return World()


class TestHeaders:
    @pytest.mark.parametrize("spelling", ["Bearer {}", "bearer {}", "BEARER   {}", "Bearer {}  "])
    def test_the_scheme_is_read_as_rfc_6750_says(self, world, spelling):
        raw = spelling.format(world.token()[0]).encode()
        first = world.header(raw)
        assert first is not None
        assert world.identity.authorization(raw, world.now) is first

    @pytest.mark.parametrize(
        "spelling",
        [
            "{}",
            "Bearer{}",
            "Basic {}",
            "Bearer {}x",
            "Bearer {} {}",
            "Bearer\t{}",
            " Bearer {}",
            "Bearer {}\n",
            "Bearer " + "x" * 9000,
        ],
    )
    def test_other_headers_authenticate_nobody(self, world, spelling):
        assert world.header(spelling.replace("{}", world.token()[0]).encode()) is None

    def test_what_is_too_long_is_told_so(self, world):
        answer = world.identity.header(b"Bearer " + b"x" * 9000, PEER, never)
        assert isinstance(answer, Refusal)
        assert "longer than 8224 bytes" in answer.detail

    def test_a_header_that_was_seen_ends_with_its_token(self, world):
        secret, record = world.token()
        raw = b"Bearer " + secret.encode()
        principal = world.header(raw)
        assert world.identity.live(principal)
        world.now = 1059.9
        assert world.header(raw) is principal
        world.now = 1060.0
        assert world.header(raw) is None
        assert not world.identity.live(principal)
        world.now = 1000.0
        world.identity.tokens.remove(record.id)
        world.identity.forget()
        assert world.header(raw) is None
        assert not world.identity.live(principal)

    def test_memory_of_headers_is_bounded(self, world, monkeypatch):
        monkeypatch.setattr(module, "HEADERS", 500)
        secret = world.token()[0].encode()
        for spaces in range(1, 9):
            assert world.header(b"Bearer" + b" " * spaces + secret) is not None
            assert len(world.identity._headers) <= 2

    def test_anonymous_principals_stay_live(self, world):
        world.now = 1e12
        assert world.identity.live(ANONYMOUS)

    @given(st.one_of(st.binary(max_size=200), st.binary(max_size=80).map(b"Bearer a.b.c".__add__)))
    def test_any_header_is_read_without_an_error(self, raw):
        world = World()
        world.trust(key())
        assert world.header(raw) is None


class TestSecrets:
    def test_a_device_secret(self, world):
        secret, verifier = new_secret(secrets.token_bytes)
        world.record("secret", "d1", verifier, attributes={"roles": "meter, pump", "room": "2"})
        found = world.identity.password("d1", secret, PEER, never)
        assert (found.id, found.method, found.roles) == ("iot:d1", "secret", ("meter", "pump"))
        assert world.identity.password("d1", secret, PEER, never) is found
        assert world.identity.live(found)
        assert world.identity.known("iot:d1") is found
        for user, wrong in (("d1", "x"), ("d2", secret), ("", secret), ("d1", secret + "0")):
            assert isinstance(world.identity.password(user, wrong, PEER, never), Refusal)

    def test_the_same_record_again_keeps_what_is_open(self, world):
        secret, verifier = new_secret(secrets.token_bytes)
        record = world.record("secret", "d1", verifier)
        two = world.record("secret", "d2", verifier, principal="iot:d1")
        found = world.identity.password("d1", secret, PEER, never)
        assert world.identity.records.put(record) == ""
        assert world.identity.live(found)
        assert world.identity.records.remove("nobody") == ""
        world.identity.records.remove(record.id)
        assert world.identity.known("iot:d1").credential == two.id

    def test_two_secrets_overlap(self, world):
        old, new = new_secret(secrets.token_bytes), new_secret(secrets.token_bytes)
        for number, (_, verifier) in enumerate((old, new)):
            ends = 1010 if number == 0 else 0
            world.identity.records.put(
                CredentialRecord(str(number), "secret", "d", verifier, "iot:d", "device", 0, ends)
            )
        first = world.identity.password("d", old[0], PEER, never)
        second = world.identity.password("d", new[0], PEER, never)
        assert first is not second
        assert first.id == second.id
        world.now = 1010
        assert isinstance(world.identity.password("d", old[0], PEER, never), Refusal)
        assert world.identity.password("d", new[0], PEER, never) is second

    def test_what_is_presented_is_never_the_principal(self, world):
        world.record("psk", "admin", "", principal="iot:lamp")
        world.record("oscore", "admin", "", principal="iot:fan")
        world.record("certificate", "admin", "ab", principal="iot:pump")
        assert world.identity.by_key("psk", "admin").id == "iot:lamp"
        assert world.identity.by_key("oscore", "admin").id == "iot:fan"
        assert world.identity.by_certificate("admin", "ab").id == "iot:pump"
        assert world.identity.by_certificate("admin", "cd") is None
        assert world.identity.by_key("psk", "root") is None
        world.record("claim", "c", "")
        assert world.identity.known("iot:c") is None

    def test_everything_of_a_principal_is_void(self, world):
        raw = b"Bearer " + world.token("iot:a")[0].encode()
        one = world.header(raw)
        secret, verifier = new_secret(secrets.token_bytes)
        world.record("secret", "a", verifier)
        two = world.identity.password("a", secret, PEER, never)
        world.trust(key())
        three = world.identity.bearer(world.jwt(), PEER, never)
        ended = world.identity.void("iot:a", 1000)
        assert set(ended) == {one.credential, two.credential}
        assert world.header(raw) is None
        assert not any(map(world.identity.live, (one, two)))
        assert world.identity.live(three)
        assert world.identity.void("idp:ann", 1000) == [three.credential]
        assert isinstance(world.identity.bearer(world.jwt(), PEER, never), Refusal)
        world.now = 1001.0
        assert world.identity.bearer(world.jwt(), PEER, never).id == "idp:ann"
        world.record("secret", "late", verifier, issued=1001)
        assert world.identity.void("iot:late", 1000) == []


class TestIssuers:
    def test_a_verified_token_is_checked_once(self, world, monkeypatch):
        world.trust(key())
        text = world.jwt()
        found = world.identity.bearer(text, PEER, never)
        assert found.id == "idp:ann"
        monkeypatch.setattr(module, "verify", lambda *_: 1 / 0)
        assert world.identity.bearer(text, PEER, never) is found
        assert world.identity.password("whoever", text, PEER, never) is found
        assert world.identity.known("idp:ann") is found
        world.now = 1330.0
        assert world.identity.jwts.ended(world.now) == [found.credential]
        assert world.identity.known("idp:ann") is None

    def test_one_of_two_tokens_is_enough_to_be_known(self, world):
        world.trust(key())
        first = world.identity.bearer(world.jwt(exp=world.now + 5), PEER, never)
        second = world.identity.bearer(world.jwt(), PEER, never)
        world.now += 40
        assert world.identity.known("idp:ann") is second
        assert world.identity.jwts.ended(world.now) == [first.credential]
        assert world.identity.known("idp:ann") is second

    def test_too_many_tokens_of_one_principal_push_out_its_own(self, world, monkeypatch):
        monkeypatch.setattr(jwt_cache, "OF_ONE", 2)
        world.trust(key("EC"))
        signed = {"alg": "ES256", "signer": key("EC")}
        other = world.identity.bearer(token(claims(world.now, sub="other"), **signed), PEER, never)
        found = [
            world.identity.bearer(token(claims(world.now, jti=str(n)), **signed), PEER, never)
            for n in range(5)
        ]
        assert world.identity.live(other)
        assert [world.identity.live(one) for one in found] == [False] * 3 + [True] * 2
        ended = [one.credential for one in found[:3]]
        assert world.identity.jwts.ended(world.now) == ended

    def test_too_many_tokens_push_the_oldest_out(self, world, monkeypatch):
        monkeypatch.setattr(jwt_cache, "ENTRIES", 3)
        world.trust(key("EC"))
        found = []
        for number in range(400):
            text = token(claims(world.now, sub=str(number)), alg="ES256", signer=key("EC"))
            found.append(world.identity.bearer(text, PEER, never))
        assert len(world.identity.jwts) == 3
        assert len(world.identity.jwts._ends) <= 110
        assert len(world.identity.jwts.ended(world.now)) == 397
        assert [one.id for one in found if world.identity.live(one)] == [
            "idp:397",
            "idp:398",
            "idp:399",
        ]

    def test_a_key_that_is_not_known_is_asked_for_once(self, world):
        issuer = world.trust(key("EC"))
        woken = []
        issuer.wake = lambda: woken.append(1)
        world.now += 11
        told = []
        first = world.identity.bearer(world.jwt(), PEER, told.append)
        second = world.identity.bearer(world.jwt(sub="bob"), PEER, told.append)
        gone = world.identity.bearer(world.jwt(sub="eve"), PEER, never)
        gone.cancel()
        assert woken == [1]
        assert isinstance(first, Pending)
        issuer.asking()
        issuer.fetched(jwt.read_keys(jwks(key())))
        assert [one.id for one in told] == ["idp:ann", "idp:bob"]
        assert second.wanted is False
        told.clear()
        refused = world.identity.bearer(token(claims(world.now), kid="x"), PEER, never)
        assert refused.status is Status.UNAUTHENTICATED
        assert woken == [1]
        world.now += 11
        held = world.identity.bearer(token(claims(world.now), kid="x"), PEER, told.append)
        assert isinstance(held, Pending)
        issuer.failed("down")
        assert told[0].status is Status.UNAUTHENTICATED
        assert woken == [1, 1]

    def test_an_issuer_that_is_down(self, world):
        issuer = world.trust()
        told = []
        assert isinstance(world.identity.bearer(world.jwt(), PEER, told.append), Pending)
        issuer.asking()
        issuer.failed("down")
        assert (told[0].status, told[0].retry_after) == (Status.UNAVAILABLE, 5)
        refused = world.identity.bearer(world.jwt(), PEER, never)
        assert refused.status is Status.UNAVAILABLE
        issuer.fetched(jwt.read_keys(jwks(key())))
        assert world.identity.bearer(world.jwt(), PEER, never).id == "idp:ann"
        world.now += 23 * 3600
        issuer.failed("down")
        assert world.identity.bearer(world.jwt(sub="bob"), PEER, never).id == "idp:bob"
        world.now += 2 * 3600
        issuer.asking()
        issuer.failed("down")
        assert world.identity.bearer(world.jwt(sub="eve"), PEER, never).status is (
            Status.UNAVAILABLE
        )

    def test_those_who_wait_for_keys_are_bounded(self, world, monkeypatch):
        monkeypatch.setattr("gateway.identity.issuers.WAITING", 2)
        world.trust()
        for _ in range(2):
            assert isinstance(world.identity.bearer(world.jwt(), PEER, lambda _: None), Pending)
        assert isinstance(world.identity.bearer(world.jwt(), PEER, never), Refusal)

    def test_a_header_that_had_to_wait_is_remembered(self, world):
        issuer = world.trust()
        raw = b"Bearer " + world.jwt().encode()
        told = []
        assert isinstance(world.identity.header(raw, PEER, told.append), Pending)
        issuer.fetched(jwt.read_keys(jwks(key())))
        assert world.identity.authorization(raw, world.now) is told[0]

    @pytest.mark.parametrize(
        "text",
        [
            lambda: token(claims(1000.0, iss="http://other")),
            lambda: token(claims(1000.0, exp=900)),
            lambda: token(claims(1000.0), alg="RS512"),
            lambda: token(claims(1000.0), signer=key("RSA", 2), kid="RSA-1"),
            lambda: "a.b.c",
            lambda: token(claims(1000.0)) + "A" * 9000,
        ],
    )
    def test_tokens_that_are_refused(self, world, text):
        world.trust(key())
        refused = world.identity.bearer(text(), PEER, never)
        assert refused.status is Status.UNAUTHENTICATED
        assert "eyJ" not in refused.detail

    def test_forged_tokens_cost_little(self, world, monkeypatch):
        """Signatures are costly: for sources that failed too often few are checked."""
        world.trust(key("EC"))
        checked = []
        monkeypatch.setattr(module, "verify", lambda *_: checked.append(1))
        forged = token(claims(world.now), alg="ES256", signer=key("EC"))
        told = [
            world.identity.bearer(f"{forged[:-9]}{n:04}{forged[-5:]}", PEER, never).status
            for n in range(2000)
        ]
        assert told[:20] == [Status.UNAUTHENTICATED] * 20
        assert set(told[30:]) == {Status.THROTTLED}
        assert len(checked) < 150
        monkeypatch.undo()
        text = token(claims(world.now), alg="ES256", signer=key("EC"))
        assert world.identity.bearer(text, "192.0.2.9", never).id == "idp:ann"
        world.now += 1  # a little is left for those behind the same address
        text = token(claims(world.now, sub="bob"), alg="ES256", signer=key("EC"))
        assert world.identity.bearer(text, PEER, never).id == "idp:bob"

    def test_a_token_that_waited_may_still_be_bad(self, world):
        issuer = world.trust()
        told = []
        world.identity.bearer(token(claims(1000.0, exp=900)), PEER, told.append)
        issuer.fetched(jwt.read_keys(jwks(key())))
        assert "expired" in told[0].detail


class TestPasswords:
    async def ask(self, world, user="ann", secret="correct horse", peer=PEER):
        return await awaited(lambda then: world.identity.password(user, secret, peer, then))

    @pytest.fixture
    async def world(self):
        world = World()
        world.record("password", "ann", hash_password("correct horse", bytes(16)))
        yield world
        world.identity.close()

    async def test_the_right_one_and_others(self, world):
        found = await self.ask(world)
        assert (found.id, found.method) == ("iot:ann", "password")
        for user, secret in (("ann", "wrong horse"), ("bob", "correct horse")):
            refused = await self.ask(world, user, secret)
            assert refused.status is Status.UNAUTHENTICATED
            assert refused.detail == "the user name or the password is wrong"
        assert (await self.ask(world, "a" * 2000)).status is Status.UNAUTHENTICATED

    async def test_an_unknown_user_takes_as_long(self, world):
        async def lasts(user):
            began = time.perf_counter()
            await self.ask(world, user, "wrong")
            return time.perf_counter() - began

        known = min([await lasts("ann") for _ in range(3)])
        unknown = min([await lasts("bob") for _ in range(3)])
        assert 0.3 < known / unknown < 3

    async def test_it_ends_with_a_revocation_meanwhile(self, world):
        asked = asyncio.create_task(self.ask(world))
        await asyncio.sleep(0)
        world.identity.void("iot:ann", 1000)
        assert (await asked).status is Status.UNAUTHENTICATED

    async def test_who_fails_has_to_wait_and_nobody_else(self, world):
        seen = []
        world.identity.watchers.append(lambda *what: seen.append(what))
        for _ in range(6):
            assert (await self.ask(world, secret="x")).status is Status.UNAUTHENTICATED
        refused = await self.ask(world, secret="x")
        assert (refused.status, refused.retry_after) == (Status.THROTTLED, 1)
        refused = await self.ask(world)
        assert refused.status is Status.THROTTLED
        assert (await self.ask(world, peer="192.0.2.2")).id == "iot:ann"
        world.now += 1
        assert (await self.ask(world)).id == "iot:ann"
        assert {source for source, _, _ in seen} == {PEER}
        assert world.identity.failures == len(seen) == 8

    async def test_a_burst_of_guesses_is_cut_short(self, world):
        """What was asked before the first failures were known is not checked after them."""
        told = await asyncio.gather(*(self.ask(world, secret=f"guess {n}") for n in range(40)))
        checked = [one for one in told if one.status is Status.UNAUTHENTICATED]
        assert len(checked) <= 7
        assert {one.status for one in told} == {Status.UNAUTHENTICATED, Status.THROTTLED}

    async def test_right_secrets_get_in_from_a_source_that_waits(self, world):
        secret, verifier = new_secret(secrets.token_bytes)
        world.record("secret", "d1", verifier)
        text = world.token()[0]
        for number in range(25):
            await self.ask(world, str(number), "x")
        assert (await self.ask(world)).status is Status.THROTTLED
        assert (await self.ask(world, "d1", secret)).id == "iot:d1"
        assert (await self.ask(world, "", text)).id == "iot:phone"
        wrong = world.identity.bearer("hlm_", PEER, never)
        assert wrong.status is Status.THROTTLED

    async def test_too_many_wait(self, world):
        world.identity.verifier._limit = 3
        asked = asyncio.gather(*(self.ask(world) for _ in range(8)))
        await asyncio.sleep(0)
        # Another source has its share: the last one of the first source gives way.
        assert (await self.ask(world, peer="192.0.2.9")).id == "iot:ann"
        answers = await asked
        refused = [one for one in answers if isinstance(one, Refusal)]
        assert {(one.status, one.retry_after) for one in refused} == {(Status.UNAVAILABLE, 5)}
        assert len(refused) == 4

    async def test_who_is_gone_costs_nothing(self, world):
        told = []
        pending = [world.identity.password("ann", "x", PEER, told.append) for _ in range(50)]
        for one in pending:
            one.cancel()
        began = time.perf_counter()
        await self.ask(world)
        assert time.perf_counter() - began < 1
        assert not told

    async def test_who_waits_too_long_is_sent_away(self, world, monkeypatch):
        monkeypatch.setattr("gateway.identity.verifier.PATIENCE", -1.0)
        told = []
        for _ in range(40):
            world.identity.password("ann", "correct horse", PEER, told.append)
        world.identity.verifier._look_at_clock()
        assert {one.status for one in told} == {Status.UNAVAILABLE}
        assert world.identity.verifier.waiting == 0

    async def test_awaiting_can_be_given_up(self, world):
        asked = asyncio.create_task(self.ask(world))
        await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked


class TestBook:
    """What the log says is put in force (``CredentialBook``)."""

    def issue(self, expires, id_="d"):
        verifier = new_secret(secrets.token_bytes)[1]
        return CredentialRecord(id_, "secret", "d", verifier, "iot:d", "device", 1000, expires)

    def test_a_credential_that_was_issued_anew_lasts_longer(self, world):
        book = CredentialBook(world.identity)
        assert book.react(CredentialIssued(self.issue(1010))) == ()
        assert book.react(CredentialIssued(self.issue(2010))) == ("d",)
        world.now = 1011.0
        assert book.expired(world.now) == []
        world.now = 1011.0 + 24 * 3600
        assert book.expired(world.now) == ["d"]
        assert book.forgotten(world.now) == ["d"]

    def test_what_is_taken_out_of_the_log(self, world):
        catalog = Catalog()
        record = self.issue(0)
        token = world.token("iot:d")[1]
        for change in (CredentialIssued(record), TokenIssued(token)):
            catalog.apply(change)
        assert withdrawn(["d", "x"], catalog) == [CredentialRevoked("d")]
        changes = withdrawn_principal("iot:d", 1000, catalog)
        assert changes == [
            TokenRevoked(token.id),
            CredentialRevoked("d"),
            PrincipalRevoked("iot:d", 1000),
        ]
        for change in changes:
            catalog.apply(change)
        assert withdrawn_principal("iot:d", 1000, catalog) == []

    def test_a_revoked_principal_stays_so_after_a_restart(self, world):
        catalog = Catalog()
        catalog.apply(PrincipalRevoked("idp:ann", 1000))
        CredentialBook(world.identity).load(catalog)
        world.trust(key())
        assert isinstance(world.identity.bearer(world.jwt(), PEER, never), Refusal)
        assert world.identity.bearer(world.jwt(iat=1001), PEER, never).id == "idp:ann"
