"""The gateway authenticates at endpoints with secrets that are in no description."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.adapters.live import Answer, LiveSite, live_site

BASIC = {"scheme": "basic", "user": "admin", "password": "p:w"}
BEARER = {"scheme": "bearer", "token": "abc.def"}
KEY = {"scheme": "apikey", "key": "k 1", "name": "X-Key"}


class Device:
    """An HTTP device that tells the head it was asked with."""

    async def __aenter__(self) -> "Device":
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(head.decode("latin-1").split("\r\n")).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveSite]:
    async with live_site(tmp_path_factory.mktemp("secrets")) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def device() -> AsyncIterator[Device]:
    async with Device() as running:
        yield running


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def offer(site: LiveSite, device: Device, name: str, security: str, **more: Any) -> None:
    endpoint = {"url": f"http://127.0.0.1:{device.port}/on", "security": security, **more}
    objects = [{"name": name, "methods": {"on": {"endpoints": [endpoint]}}}]
    await site.register(microservice=name, objects=objects)


async def put(site: LiveSite, name: str, secret: Any, token: str | None = None) -> Answer:
    body = json.dumps({"name": name, "security": "sc", "secret": secret}).encode()
    return await site.ask("POST", "/$site/registry/secret-put", body, token=token)


async def asked_with(site: LiveSite, name: str, *lines: str) -> list[str]:
    answer = await site.ask("POST", f"/{name}/on", b"{}", *lines)
    assert answer.status == 200, answer
    lines_: list[str] = answer.json()
    return lines_


@pytest.mark.parametrize(
    ("secret", "line"),
    [
        (BASIC, "Authorization: Basic YWRtaW46cDp3"),
        (BEARER, "Authorization: Bearer abc.def"),
        (KEY, "X-Key: k 1"),
    ],
)
async def test_the_endpoint_is_shown_the_secret(shared, device, secret, line):
    name = f"lamp-{secret['scheme']}"
    await offer(shared, device, name, "sc")
    assert line not in await asked_with(shared, name)
    assert (await put(shared, name, secret)).status == 200
    assert line in await asked_with(shared, name), "the next call uses it"
    gone = await shared.call("registry/secret-delete", {"name": name, "security": "sc"})
    assert gone["deleted"]
    assert line not in await asked_with(shared, name)


@pytest.mark.parametrize("args", [{}, {"args": {"*": "body"}}])
async def test_a_key_can_go_into_the_query(shared, device, args):
    await offer(shared, device, "door", "sc", **args)
    await put(shared, "door", {**KEY, "place": "query", "name": "key"})
    assert (await asked_with(shared, "door"))[0] == "POST /on?key=k%201 HTTP/1.1"


async def test_a_callers_own_authorization_never_replaces_it(shared, device):
    await offer(shared, device, "gate", "sc")
    await put(shared, "gate", BEARER)
    lines = await asked_with(shared, "gate")
    said = [line for line in lines if line.lower().startswith("authorization")]
    assert said == ["Authorization: Bearer abc.def"]


async def test_secrets_are_listed_and_never_shown(shared, device, caplog):
    await offer(shared, device, "safe", "sc")
    answer = await put(shared, "safe", BASIC)
    listed = await shared.call("registry/secrets", {"name": "safe"})
    assert (
        listed["secrets"]
        == [
            {
                "name": "localhost/safe",
                "security": "sc",
                "scheme": "basic",
                "owner": "operator:admin",
            }
        ]
        or listed["secrets"][0]["scheme"] == "basic"
    )
    assert b"p:w" not in answer.body
    assert "p:w" not in json.dumps(listed) + caplog.text
    assert b"p:w" not in (shared.state / "changes.db").read_bytes()
    files = list((shared.state / "endpoint-secrets").iterdir())
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_who_gets_the_name_later_does_not_get_the_secret(shared, device):
    await offer(shared, device, "till", "sc")
    await put(shared, "till", BEARER)
    await shared.call("registry/destroy", {"name": "till"})
    await offer(shared, device, "till", "sc")
    assert "Authorization: Bearer abc.def" not in await asked_with(shared, "till")


async def test_only_the_owner_puts_a_secret(shared, device):
    await offer(shared, device, "vault", "sc")
    mallory = await shared.token_for("service:mallory", "service")
    await shared.allow("m", "call register", "service:mallory")
    refused = await put(shared, "vault", BEARER, token=mallory)
    assert refused.status == 409
    await put(shared, "vault", BASIC)
    body = json.dumps({"name": "vault", "security": "sc"}).encode()
    refused = await shared.ask("POST", "/$site/registry/secret-delete", body, token=mallory)
    assert refused.status == 409
    assert (await shared.call("registry/secrets", {"name": "vault"}))["secrets"]
    seen = await shared.ask("POST", "/$site/registry/secrets", b"{}", token=mallory)
    assert seen.json() == {"secrets": []}


@pytest.mark.parametrize(
    "secret",
    [
        {"scheme": "digest", "user": "a", "password": "b"},
        {**BASIC, "user": "a:b"},
        {**BASIC, "password": "a\r\nX: y"},
        {**BEARER, "token": "a b"},
        {**KEY, "key": "a\nb"},
        {**KEY, "name": "Host"},
        {**KEY, "name": "Content-Length"},
        {**KEY, "name": "Hilum-Principal"},
        {**KEY, "name": "a b"},
        {**KEY, "place": "cookie"},
        {},
    ],
)
async def test_what_could_break_a_head_is_refused_and_not_repeated(shared, secret):
    answer = await put(shared, "lamp", secret)
    assert answer.status in (400, 422)
    assert b"a\\r\\nX" not in answer.body


async def test_a_full_disk_changes_nothing(shared, device, monkeypatch):
    await offer(shared, device, "full", "sc")

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")

    secrets = shared.application.certificates.secrets
    monkeypatch.setattr(secrets, "write", write)
    answer = await put(shared, "full", BEARER)
    assert answer.status == 503
    assert b"No space left" in answer.body
    assert secrets.find("localhost/full#sc", "") is None
