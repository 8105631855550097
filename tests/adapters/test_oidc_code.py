"""Codes for ID tokens over real sockets: how the client says who it is, and providers that fail."""

import asyncio
import contextlib
import json
import threading
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.fetch import BYTES, Fetcher
from adapters.oidc.code import CodeExchange, _id_token
from adapters.oidc.keys import DISCOVERY
from gateway.message import Refusal, Status


class TokenServer:
    """A provider that answers as the test says and keeps what it was asked."""

    def __init__(self) -> None:
        self.metadata: dict[str, object] = {}
        self.status = 200
        self.body = b'{"id_token": "a.b.c", "access_token": "x"}'
        self.headers: dict[str, str] = {}
        self.delay = 0.0
        self.asked: list[str] = []
        self.forms: list[dict[str, list[str]]] = []
        self.authorizations: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                known = self.path == DISCOVERY and bool(server.metadata)
                self.answer(200 if known else 404, json.dumps(server.metadata).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.append(self.path)
                server.forms.append(parse_qs(body.decode()))
                server.authorizations.append(self.headers.get("Authorization"))
                time.sleep(server.delay)
                self.answer(server.status, server.body)

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # it may be gone
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.metadata = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
        }
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server():
    running = TokenServer()
    yield running
    running.close()


@pytest.fixture
def fetcher():
    fetcher = Fetcher(seconds=0.5)
    yield fetcher
    fetcher.close()


def exchange_of(server, fetcher, secret="s&cret +", clock=None):
    clock = clock or asyncio.get_running_loop().time
    return CodeExchange(server.url, "the client", secret, fetcher, clock)


async def refusal_of(exchange) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await exchange.exchange("c", "v", "http://here/login/callback")
    return caught.value


async def test_a_confidential_client_says_who_it_is_in_the_head(server, fetcher):
    exchange = exchange_of(server, fetcher)
    assert await exchange.exchange("c&", "v", "http://here/login/callback") == "a.b.c"
    assert server.forms == [
        {
            "grant_type": ["authorization_code"],
            "code": ["c&"],
            "code_verifier": ["v"],
            "redirect_uri": ["http://here/login/callback"],
        }
    ]
    assert server.authorizations == [f"Basic {b64encode(b'the+client:s%26cret+%2B').decode()}"]


@pytest.mark.parametrize("secret", ["", "s&cret"])
async def test_other_clients_say_it_in_the_form(server, fetcher, secret):
    server.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post", "none"]
    await exchange_of(server, fetcher, secret).exchange("c", "v", "http://here/")
    assert server.forms[0]["client_id"] == ["the client"]
    assert server.forms[0].get("client_secret", [""]) == [secret]
    assert server.authorizations == [None]


async def test_what_a_provider_says_of_itself_is_remembered(server, fetcher):
    now = [0.0]
    exchange = exchange_of(server, fetcher, clock=lambda: now[0])
    await asyncio.gather(*(exchange.metadata() for _ in range(5)))
    now[0] = 899.0
    await exchange.metadata()
    assert server.asked == [DISCOVERY]
    now[0] = 900.0
    await exchange.metadata()
    assert server.asked == [DISCOVERY] * 2


async def test_a_failure_is_remembered_for_a_moment(server, fetcher):
    now = [0.0]
    exchange = exchange_of(server, fetcher, clock=lambda: now[0])
    kept, server.metadata = server.metadata, {}
    for _ in range(3):
        assert (await refusal_of(exchange)).status is Status.UNAVAILABLE
    assert server.asked == [DISCOVERY]
    server.metadata = kept
    now[0] = 2.0
    assert await exchange.exchange("c", "v", "http://here/") == "a.b.c"


async def test_a_provider_without_a_login_is_named_so(server, fetcher):
    del server.metadata["authorization_endpoint"]
    assert "endpoints" in (await refusal_of(exchange_of(server, fetcher))).detail


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, b'{"error": "invalid_grant"}', Status.UNAUTHENTICATED),
        (401, b'{"error": "invalid_client"}', Status.PROVIDER_ERROR),
        (400, b'{"error": 7}', Status.PROVIDER_ERROR),
        (200, b'{"access_token": "x"}', Status.PROVIDER_ERROR),
        (200, b"not json", Status.PROVIDER_ERROR),
        (200, b"[" * 100_000, Status.PROVIDER_ERROR),
        (200, b"x" * (BYTES + 1), Status.UNAVAILABLE),
        (500, b'{"id_token": "a.b.c"}', Status.PROVIDER_ERROR),
        (302, b'{"id_token": "a.b.c"}', Status.PROVIDER_ERROR),
    ],
)
async def test_answers_without_an_id_token(server, fetcher, status, body, wanted):
    server.status, server.body = status, body
    server.headers = {"Location": f"{server.url}/elsewhere"}
    refusal = await refusal_of(exchange_of(server, fetcher))
    assert refusal.status is wanted
    assert "s&cret" not in refusal.detail
    assert server.asked[1:] == ["/token"], "no redirect is followed"


async def test_a_slow_provider_is_not_waited_for(server, fetcher):
    server.delay = 1.0
    begun = time.monotonic()
    assert (await refusal_of(exchange_of(server, fetcher))).status is Status.UNAVAILABLE
    assert time.monotonic() - begun < 0.9


@given(st.sampled_from([200, 400, 401, 500]), st.binary(max_size=200))
def test_whatever_a_token_endpoint_answers_is_a_token_or_a_refusal(status, body):
    with contextlib.suppress(Refusal):
        assert isinstance(_id_token(status, body), str)
