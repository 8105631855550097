"""A real OpenID provider, npm's oidc-provider, in a process of its own on a free port."""

import hashlib
import html
import http.client
import json
import os
import re
import select
import subprocess
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from tests.npm import installed
from tests.support import require_program

HERE = Path(__file__).resolve().parent
START_SECONDS = 30.0
REDIRECT = "http://127.0.0.1/none"
"""Where a person's browser would be sent with the code; the tests read it instead."""
PASSWORDS = {"ann": "correct horse", "bob": "battery staple"}
SECRETS = {
    "hilum-control": "secret of the control plane",
    "thermometer": "secret of the thermometer",
}


class Reply(NamedTuple):
    """An HTTP response."""

    status: int
    location: str
    cookies: list[str]
    body: str


class Provider:
    """The provider; ``start`` again takes the same port, with new keys."""

    def __init__(self) -> None:
        self.issuer = ""
        self._redirects = [REDIRECT]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Provider":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> "Provider":
        """Start the process and wait until it listens."""
        node = require_program("node")
        port = str(urlsplit(self.issuer).port or 0)
        self._process = subprocess.Popen(
            [node, "server.mjs", port],
            cwd=installed(HERE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        line, end = b"", time.monotonic() + START_SECONDS
        while not line.endswith(b"\n") and time.monotonic() < end:
            if select.select([self._process.stdout], [], [], 0.1)[0]:
                part = os.read(self._process.stdout.fileno(), 4096)
                assert part, "the provider ended at once"
                line += part
        self.issuer = line.decode().strip()
        return self

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def set(self, **settings: Any) -> None:
        """Change settings, which server.mjs lists."""
        body = json.dumps(settings)
        assert self.ask("POST", f"{self.issuer}/test/settings", body).status == 200

    def redirect(self, url: str) -> None:
        """Let a site's browsers come back to it, beside those of other tests' sites."""
        self._redirects.append(url)
        self.set(redirects=self._redirects)

    def service_token(self, client: str = "thermometer") -> str:
        """Return an access token for a program (client credentials, RFC 6749 section 4.4)."""
        return str(self._token(client, {"grant_type": "client_credentials"})["access_token"])

    def user_tokens(self, person: str, client: str = "hilum-control") -> Mapping[str, str]:
        """Log a person in with authorization code and PKCE; return the token endpoint's answer."""
        verifier = "v" * 43
        challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode()
        asked = {
            "client_id": client,
            "response_type": "code",
            "scope": "openid",
            "redirect_uri": REDIRECT,
            "code_challenge": challenge.rstrip("="),
            "code_challenge_method": "S256",
            "state": "s",
        }
        code = self._code(f"{self.issuer}/auth?{urlencode(asked)}", person)
        given = {"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT}
        return self._token(client, {**given, "code_verifier": verifier})

    def _code(self, url: str, person: str) -> str:
        """Follow redirects as a browser would, with its cookies, and fill in the form."""
        jar: dict[str, str] = {}
        reply = self.ask("GET", url, cookies=jar)
        while not reply.location.startswith(REDIRECT):
            if reply.location:
                url = urljoin(url, html.unescape(reply.location))
                reply = self.ask("GET", url, cookies=jar)
            else:
                form = urlencode({"login": person, "password": PASSWORDS[person]})
                reply = self.ask("POST", url, form, cookies=jar)
            assert reply.status < 400, reply.body
        return parse_qs(urlsplit(reply.location).query)["code"][0]

    def _token(self, client: str, given: Mapping[str, str]) -> Any:
        fields = {}
        if client in SECRETS:
            basic = b64encode(f"{client}:{SECRETS[client]}".encode()).decode()
            fields["Authorization"] = f"Basic {basic}"
        else:
            given = {**given, "client_id": client}
        reply = self.ask("POST", f"{self.issuer}/token", urlencode(given), fields)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)

    def ask(
        self,
        verb: str,
        url: str,
        body: str | None = None,
        fields: Mapping[str, str] = {},
        cookies: dict[str, str] | None = None,
    ) -> Reply:
        """Send one request; redirects are not followed, ``cookies`` are sent and kept."""
        parts = urlsplit(url)
        fields = dict(fields)
        if body is not None:
            kind = "json" if body.startswith("{") else "x-www-form-urlencoded"
            fields["Content-Type"] = f"application/{kind}"
        if cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request(verb, f"{parts.path}?{parts.query}".rstrip("?"), body, fields)
            response = connection.getresponse()
            said = response.headers.get_all("set-cookie") or []
            text = response.read().decode()
        finally:
            connection.close()
        if cookies is not None:
            cookies.update(re.split("[=;]", one, maxsplit=2)[:2] for one in said)  # type: ignore[arg-type]
        return Reply(response.status, response.headers.get("location", ""), said, text)
