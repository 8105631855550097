"""Logins that go wrong: forged answers, other providers, bad ID tokens, a provider that fails."""

import asyncio
import re
import ssl
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.control import login as login_module
from adapters.control.login import CALLBACK, Client, Login
from adapters.control.server import ControlServer
from adapters.control.sessions import Sessions
from gateway.identity.issuers import IssuerKeys
from gateway.message import Refusal, Status
from gateway.settings import Control
from policy.identity.claims import Expected
from policy.identity.jwt import read_keys
from tests.adapters.live import until
from tests.adapters.relay import running_relay
from tests.issuers import URL, claims, jwks, key, token

CLIENT = "hilum-control"


class FakeProvider:
    """Answers as the test says; ``tokens`` makes the ID token for a nonce."""

    def __init__(self) -> None:
        self.iss = True
        self.down = False
        self.said: dict[str, object] = {}
        self.nonce = ""
        self.asked: list[tuple[str, str, str]] = []
        self.signer = key()
        self.refusal: Refusal | None = None
        self.hold: asyncio.Event | None = None

    async def metadata(self):
        if self.down:
            raise Refusal(Status.UNAVAILABLE, "the provider cannot be asked", retry_after=2)
        return SimpleNamespace(
            authorization_endpoint=f"{URL}/authorize?tenant=1",
            authorization_response_iss_parameter_supported=self.iss,
        )

    async def exchange(self, code, verifier, redirect):
        self.asked.append((code, verifier, redirect))
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        return token(
            claims(**{"aud": CLIENT, "nonce": self.nonce, **self.said}), signer=self.signer
        )


class World:
    """A control API that people log in at, and a browser without scripts."""

    def __init__(self, relay, provider, login, port) -> None:
        self.relay, self.provider, self.login = relay, provider, login
        self.url = f"http://127.0.0.1:{port}"
        self.browser = httpx.AsyncClient(base_url=self.url, trust_env=False)

    async def begin(self) -> dict[str, str]:
        """Begin a login; return what the provider is asked."""
        response = await self.browser.get("/login")
        assert response.status_code == 303
        query = parse_qs(urlsplit(response.headers["location"]).query)
        asked = {name: value for name, (value,) in query.items()}
        self.provider.nonce = asked["nonce"]
        return asked

    async def finish(self, **said: str) -> httpx.Response:
        return await self.browser.get(f"{CALLBACK}?{urlencode(said)}")

    async def log_in(self, **said: object) -> httpx.Response:
        self.provider.said = said
        asked = await self.begin()
        return await self.finish(code="c", state=asked["state"], iss=URL)


@pytest.fixture
async def world(tmp_path):
    async with running_relay(tmp_path) as relay:
        loop = asyncio.get_running_loop()
        names = frozenset({"hilum"}), frozenset({"RS256"})
        keys = IssuerKeys(Expected(URL, "corp", *names, roles_claim="roles"), loop.time)
        keys.fetched(read_keys(jwks(key())))
        keys.wake = lambda: loop.call_soon(keys.fetched, keys.keys)
        provider, sessions = FakeProvider(), Sessions(100, 600, 3600)
        relay.site.identity.sources.append(sessions)
        login = Login(relay.site, Client(keys, CLIENT, provider), sessions)
        control = ControlServer(relay.site, Control(port=0), tmp_path, login=login)
        world = World(relay, provider, login, await control.start())
        yield world
        await world.browser.aclose()
        await control.stop()


def shown(response: httpx.Response) -> str:
    return re.search(r'role="alert">([^<]*)<', response.text)[1]


async def test_a_login_asks_with_pkce_and_ends_at_the_start(world):
    asked = await world.begin()
    assert asked["tenant"] == "1"
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == world.url + CALLBACK
    response = await world.finish(code="c", state=asked["state"], iss=URL)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert (await world.browser.get("/")).text.count("corp:ann") > 0
    ((code, verifier, redirect),) = world.provider.asked
    assert (code, redirect) == ("c", world.url + CALLBACK)
    assert asked["code_challenge"] not in ("", verifier)


async def test_an_answer_counts_only_in_the_browser_that_asked(world):
    asked = await world.begin()
    attempt = world.browser.cookies["hilum-login"]
    world.browser.cookies.clear()
    for cookies in ({}, {"hilum-login": attempt[:-1] + "_"}, {"hilum-session": attempt}):
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        said = {"code": "c", "state": asked["state"], "iss": URL}
        response = await world.browser.get(CALLBACK, params=said, headers=headers)
        assert response.status_code == 400
        assert "this browser" in shown(response)
    assert world.provider.asked == []
    assert len(world.login.sessions) == 0


WRONG_ANSWERS: list[dict[str, str | None]] = [
    {"iss": "https://other.example"},
    {"iss": ""},
    {"iss": None},
    {"code": None},
    {"code": ""},
    {"code": "x" * 2049},
    {"code": "c\n"},
    {"state": None},
    {"state": "x"},
    {"code": None, "error": "access_denied", "error_description": "<script>"},
    {"error": "<script>"},
]


async def test_wrong_answers_reach_nobody(world):
    for said in WRONG_ANSWERS:
        await refused_answer(world, said)


async def refused_answer(world, said):
    asked = await world.begin()
    answer = {"code": "c", "state": asked["state"], "iss": URL, **said}
    response = await world.finish(**{n: v for n, v in answer.items() if v is not None})
    assert response.status_code in (400, 403)
    assert "script" not in response.text
    assert world.provider.asked == []
    assert "hilum-session" not in world.browser.cookies


async def test_a_provider_may_not_say_who_it_is_unless_it_said_it_would(world):
    world.provider.iss = False
    for iss, code in ((None, 303), (URL, 303), ("https://other.example", 400)):
        asked = await world.begin()
        said = {"code": "c", "state": asked["state"]} | ({"iss": iss} if iss else {})
        assert (await world.finish(**said)).status_code == code


async def test_a_parameter_may_not_occur_twice(world):
    asked = await world.begin()
    said = urlencode([("code", "c"), ("code", "d"), ("state", asked["state"]), ("iss", URL)])
    response = await world.browser.get(f"{CALLBACK}?{said}")
    assert (response.status_code, shown(response).count("twice")) == (400, 1)


BAD_TOKENS: list[tuple[dict[str, object], str]] = [
    ({"nonce": "another"}, "nonce"),
    ({"nonce": None}, "nonce"),
    ({"nonce": 7}, "nonce"),
    ({"nonce": "\u20ac"}, "nonce"),
    ({"aud": "hilum"}, "aud"),
    ({"aud": "another"}, "aud"),
    ({"aud": [CLIENT, "another"]}, "azp"),
    ({"aud": [CLIENT, "another"], "azp": "another"}, "azp"),
    ({"azp": "another"}, "azp"),
    ({"iss": "https://other.example"}, "iss"),
    ({"exp": 1_000_000}, "exp"),
    ({"sub": None}, "sub"),
]


async def test_bad_id_tokens_let_nobody_in(world):
    for said, why in BAD_TOKENS:
        response = await world.log_in(**said)
        assert response.status_code == 401
        assert why in shown(response)
        assert "hilum-session" not in world.browser.cookies


async def test_an_id_token_for_several_names_us(world):
    assert (await world.log_in(aud=[CLIENT, "other"], azp=CLIENT)).status_code == 303


async def test_a_token_that_somebody_else_signed_lets_nobody_in(world):
    world.provider.signer = key(number=2)
    response = await world.log_in()
    assert response.status_code == 401
    assert "signature" in shown(response)


async def test_logins_that_fail_again_and_again_have_to_wait(world):
    told: list[tuple[str, str, Refusal]] = []
    world.relay.site.identity.watchers.append(lambda *what: told.append(what))
    codes = [(await world.log_in(nonce="wrong")).status_code for _ in range(25)]
    assert codes[:3] == [401] * 3
    assert codes[-1] == 429
    assert {(source, user) for source, user, _ in told} == {("127.0.0.1", "")}
    asked = len(world.provider.asked)
    response = await world.log_in()
    assert (response.status_code, len(world.provider.asked)) == (429, asked)
    assert int(response.headers["retry-after"]) >= 1


async def test_a_provider_that_is_down_is_told_to_the_person(world):
    world.provider.down = True
    response = await world.browser.get("/login")
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    world.provider.down = False
    world.provider.refusal = Refusal(Status.PROVIDER_ERROR, "the provider answers 500")
    response = await world.log_in()
    assert (response.status_code, shown(response)) == (502, "The provider answers 500.")


async def test_only_so_many_codes_are_exchanged_at_a_time(world, monkeypatch):
    monkeypatch.setattr(login_module, "EXCHANGES", 1)
    world.provider.hold = asyncio.Event()
    asked = await world.begin()
    said = {"code": "c", "state": asked["state"], "iss": URL}
    first = asyncio.create_task(world.finish(**said))
    await until(lambda: world.provider.asked)
    assert (await world.finish(**said)).status_code == 503
    world.provider.hold.set()
    assert (await first).status_code == 303


async def test_over_tls_no_other_host_can_set_the_cookies(world, tmp_path):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(Path(__file__).parent / "localhost.pem")
    site, login = world.relay.site, world.login
    control = ControlServer(site, Control(port=0), tmp_path, tls=tls, login=login)
    url = f"https://127.0.0.1:{await control.start()}"
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    async with httpx.AsyncClient(base_url=url, verify=trusting, trust_env=False) as browser:
        world.browser, plain = browser, world.browser
        asked = await world.begin()
        assert asked["redirect_uri"] == url + CALLBACK
        response = await world.finish(code="c", state=asked["state"], iss=URL)
        session, attempt = response.headers.get_list("set-cookie")
        assert session.startswith("__Host-hilum-session=")
        assert attempt.startswith('__Host-hilum-login="";')
        for cookie in (session, attempt):
            for said in ("HttpOnly", "Path=/", "SameSite=lax", "Secure"):
                assert said in cookie
            assert "Domain" not in cookie
        assert "corp:ann" in (await browser.get("/")).text
        world.browser = plain
    await control.stop()


async def test_a_new_login_takes_the_place_of_the_old_one(world):
    await world.log_in()
    old = world.browser.cookies["hilum-session"]
    await world.log_in(sub="bob")
    assert world.browser.cookies["hilum-session"] != old
    assert len(world.login.sessions) == 1
    assert "corp:bob" in (await world.browser.get("/")).text


async def test_a_revoked_principal_has_to_log_in_again(world):
    now = time.time()
    await world.log_in()
    world.relay.site.identity.void("corp:ann", int(now) + 1)
    assert "corp:ann" not in (await world.browser.get("/")).text
    assert (await world.log_in()).status_code == 401
    assert (await world.log_in(iat=int(now) + 2)).status_code == 303


async def test_logging_out_needs_the_session_s_token(world):
    await world.log_in()
    page = (await world.browser.get("/")).text
    csrf = re.search(r'name="csrf" value="([^"]+)"', page)[1]
    for body in ("", "csrf=", "csrf=x", f"csrf={csrf}x", "x" * 5000, "&" * 100, "csrf=%FF"):
        response = await world.browser.post("/logout", content=body)
        assert response.status_code in (403, 413, 400), body
    assert (await world.browser.get("/logout")).status_code == 405
    response = await world.browser.post("/logout", content=f"csrf={csrf}")
    assert (response.status_code, response.headers["location"]) == (303, "/")
    assert len(world.login.sessions) == 0
    assert (await world.browser.post("/logout", content=f"csrf={csrf}")).status_code == 303


TEXT = st.text(st.characters(codec="utf-8"), max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    said=st.lists(st.tuples(st.sampled_from(["code", "state", "iss", "error"]) | TEXT, TEXT)),
    right=st.booleans(),
    cookie=st.text('ab=;"\\ ,.-_0123456789', max_size=60),
)
async def test_whatever_comes_to_the_callback_logs_nobody_in(world, said, right, cookie):
    world.provider.refusal = Refusal(Status.PROVIDER_ERROR, "no such code")
    headers = {"Cookie": f"hilum-login={cookie}x"}
    if right:
        asked = await world.begin()
        said = [("state", asked["state"]), *said]
        headers = {"Cookie": f"hilum-login={world.browser.cookies['hilum-login']}"}
    world.browser.cookies.clear()
    response = await world.browser.get(f"{CALLBACK}?{urlencode(said)}", headers=headers)
    assert response.status_code in (400, 403, 502)
    assert response.headers["content-type"].startswith("text/html")
    assert "set-cookie" not in response.headers
    assert len(world.login.sessions) == 0
