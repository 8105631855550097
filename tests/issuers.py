"""Issuers of tokens for tests: keys made here, tokens signed with them, a server of key sets."""

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from policy.identity.jwt import encode_part

URL = "http://issuer.test"
AUDIENCE = "hilum"


def key(kind: str = "RSA", number: int = 1) -> Key:
    """Return a private key; its ``kid`` is ``kind-number``. RSA, EC or OKP."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Key:
    made = {"RSA": (RSAKey, 2048), "EC": (ECKey, "P-256"), "OKP": (OKPKey, "Ed25519")}[kind]
    raw = made[0].generate_key(made[1], private=True).as_dict(private=True)
    return JWKRegistry.import_key({**raw, "kid": f"{kind}-{number}"})


def jwks(*keys: Key) -> bytes:
    """Return a key set with the public parts of some keys."""
    return json.dumps({"keys": [one.as_dict(private=False) for one in keys]}).encode()


def claims(now: float | None = None, **more: Any) -> dict[str, Any]:
    """Return claims of a token that is valid for five minutes; None leaves one out."""
    at = int(time.time() if now is None else now)
    found = {"iss": URL, "aud": AUDIENCE, "sub": "ann", "iat": at, "exp": at + 300, **more}
    return {name: value for name, value in found.items() if value is not None}


def raw_token(head: bytes, payload: bytes, alg: str = "RS256", signer: Key | None = None) -> str:
    """Return a token of exactly this header and payload."""
    signed = f"{encode_part(head)}.{encode_part(payload)}"
    algorithm = JWSRegistry.algorithms[alg]
    return f"{signed}.{encode_part(algorithm.sign(signed.encode(), signer or key()))}"


def token(
    said: Mapping[str, Any] | None = None,
    *,
    alg: str = "RS256",
    signer: Key | None = None,
    **header: Any,
) -> str:
    """Return a signed token."""
    signer = signer or key()
    head = {"alg": alg, "typ": "JWT", "kid": signer.kid, **header}
    head = {name: value for name, value in head.items() if value is not None}
    by = {"EdDSA": "Ed25519"}.get(alg, alg)
    payload = json.dumps(claims() if said is None else said).encode()
    return raw_token(json.dumps(head).encode(), payload, by, signer)


class Provider:
    """A provider over HTTP whose answers a test chooses.

    ``documents`` are bodies by path; ``status`` and ``delay`` (seconds) are those of all answers.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.documents: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status = 200
        self.delay = 0.0
        self.publish(key())

    def publish(self, *keys: Key) -> None:
        """Serve a key set, and the metadata that leads to it."""
        metadata = {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        self.documents["/.well-known/openid-configuration"] = json.dumps(metadata).encode()
        self.documents["/jwks"] = jwks(*keys)

    def token(self, **more: Any) -> str:
        """Return a token of this provider, signed with the first key."""
        return token(claims(**{"iss": self.url, **more}))


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Run a provider on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            provider.asked.append(self.path)
            time.sleep(provider.delay)
            body = provider.documents.get(self.path)
            self.send_response(404 if body is None else provider.status)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  (clients that left)
    server.daemon_threads = True
    provider = Provider(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
