"""Where calls may go, and what a service learns about who calls it (design 4 and 5)."""

import asyncio
import contextlib
import hmac
import socket
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.http.upstream.assertion import Assertions, service_key
from gateway.egress import NOBODY, Egress, Forbidden, Origin
from policy.model import Binding, Principal
from tests.adapters.relay import AUTHORITY, SITE_KEY, Relay, echo, running_relay, service
from tests.adapters.wire import connected, problem_of

HERE = "127.0.0.1"
ELSEWHERE = "192.0.2.7"


def verdict(
    egress: Egress, address: str, *, port: int = 80, host: str = "", peer: str = HERE
) -> str:
    """Return why an address is refused, "" when it is not."""
    try:
        egress.permitted([address], Origin("http", host or address, port, peer))
    except Forbidden as error:
        return str(error)
    return ""


@pytest.mark.parametrize("peer", ["", HERE, "169.254.169.254", "fe80::1"])
@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%lo",
        "::ffff:169.254.169.254",
        "0.0.0.0",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
    ],
)
def test_never_a_target(address: str, peer: str):
    """Link-local (also the clouds' metadata service), multicast, unspecified: nobody may."""
    everywhere = Egress(["0.0.0.0/0", "::/0", "metadata.example"])
    said = verdict(everywhere, address, peer=peer, host="metadata.example")
    assert "never a target" in said


def test_a_registrant_binds_his_own_address():
    egress = Egress(())
    assert not verdict(egress, ELSEWHERE, peer=ELSEWHERE)
    assert not verdict(egress, ELSEWHERE, peer=f"::ffff:{ELSEWHERE}")
    assert not verdict(egress, f"::ffff:{ELSEWHERE}", peer=ELSEWHERE)
    assert not verdict(egress, "127.0.0.2", peer=HERE)
    assert not verdict(egress, "::1", peer=HERE)
    for address in ("192.0.2.8", "127.0.0.1", "10.0.0.1", "2001:db8::1"):
        said = verdict(egress, address, peer=ELSEWHERE)
        assert f"is not the address {ELSEWHERE}" in said
        assert "[egress] allow" in said
    assert verdict(egress, ELSEWHERE, peer=HERE)
    assert not verdict(egress, "10.0.0.1", peer="")


def test_the_list_of_what_is_allowed():
    egress = Egress(
        [
            "10.0.0.0/8",
            "192.0.2.0/24:8080",
            "Weather.Example",
            "maps.example:443",
            "2001:db8::/32",
            "[2001:db9::/32]:8443",
            "198.51.100.1",
            "[2001:dba::1]:1",
        ]
    )
    allowed = [
        ("10.1.2.3", 1, ""),
        ("::ffff:10.1.2.3", 1, ""),
        ("192.0.2.200", 8080, ""),
        ("203.0.113.1", 99, "weather.example"),
        ("203.0.113.1", 443, "maps.example"),
        ("2001:db8::5", 7, ""),
        ("2001:db9::5", 8443, ""),
        ("198.51.100.1", 5, ""),
        ("2001:dba::1", 1, ""),
    ]
    for address, port, host in allowed:
        assert not verdict(egress, address, port=port, host=host, peer=ELSEWHERE)
    refused = [
        ("11.0.0.1", 1, ""),
        ("192.0.2.200", 80, ""),
        ("203.0.113.1", 80, "maps.example"),
        ("203.0.113.1", 80, "x.weather.example"),
        ("2001:db9::5", 80, ""),
        ("198.51.100.2", 5, ""),
        ("2001:dba::2", 1, ""),
    ]
    for address, port, host in refused:
        assert verdict(egress, address, port=port, host=host, peer=ELSEWHERE)


def test_only_good_addresses_of_a_host_are_left():
    origin = Origin("http", "two.example", 80, ELSEWHERE)
    found = ["169.254.1.1", ELSEWHERE, "10.0.0.1", f"::ffff:{ELSEWHERE}", ELSEWHERE]
    assert Egress(()).permitted(found, origin) == [ELSEWHERE, f"::ffff:{ELSEWHERE}"]
    with pytest.raises(Forbidden, match="has no address"):
        Egress(()).permitted([], origin)


@given(st.ip_addresses(), st.ip_addresses(), st.integers(1, 65535))
def test_any_address(address: object, peer: object, port: int):
    egress = Egress(["10.0.0.0/8"])
    egress.own(8080)
    said = verdict(egress, str(address), port=port, peer=str(peer))
    if not said:
        assert str(address).startswith("10.") or address == peer or "127" in str(address)


# On real sockets


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with running_relay(tmp_path, allow=["allowed.example"]) as running:
        yield running


async def refused(relay: Relay, url: str, peer: str = HERE) -> str:
    """Call a method bound to a URL; return why it was not called."""
    await relay.method("Bound/get", url, peer=peer)
    async with connected(relay.port) as client:
        answer = await client.ask(relay.request("/Bound/get", b"x"))
    if answer.code == 200:
        return ""
    assert answer.code == 503
    return str(problem_of(answer)["detail"])


def own_addresses() -> list[str]:
    """Return this machine's address beside loopback, if it has one."""
    with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.connect((ELSEWHERE, 9))
        return [probe.getsockname()[0]]
    return []


async def test_our_own_listener_is_never_a_target(relay: Relay):
    """However it is written, and also for an operator's own binding: a call would go in circles."""
    hosts = [
        "127.0.0.1",
        "127.0.0.9",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
    ]
    hosts += own_addresses()
    for host in hosts:
        url = f"http://{host}:{relay.port}/Bound/get"
        said = await refused(relay, url)
        assert "a loop" in said or "never a target" in said
        await relay.policy("own", Binding(f"{AUTHORITY}/Static/get", url))
        assert (await relay.ask("/Static/get"))[0] == 503
        said = await relay.egress.check_url(url, "") or ""
        assert "a loop" in said or "never a target" in said
    assert not relay.site.plane.live


async def test_the_peer_s_address_counts(relay: Relay):
    async with service(echo()) as url:
        assert await refused(relay, url) == ""
        assert "is not the address 192.0.2.7" in await refused(relay, url, peer=ELSEWHERE)
        assert await relay.egress.check_url(url, HERE) is None
        assert "192.0.2.7" in (await relay.egress.check_url(url, ELSEWHERE) or "")
        assert await relay.egress.check_url("http://not-there.invalid/", ELSEWHERE) is None


class Resolver:
    """Host names of the test; the answer for one can change between two questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, list[str]] = {}
        loop = asyncio.get_running_loop()
        self._ask = loop.getaddrinfo
        monkeypatch.setattr(loop, "getaddrinfo", self._resolve)

    async def _resolve(self, host: str, port: int, **options: int) -> list[object]:
        if host not in self.addresses:
            return list(await self._ask(host, port, **options))
        return [(0, 0, 0, "", (address, port)) for address in self.addresses[host]]


async def test_a_name_that_is_rebound_is_checked_each_time(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
):
    """DNS rebinding: good when it was registered, the metadata service when it is called."""
    resolver = Resolver(monkeypatch)

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with service(once) as url:
        url = url.replace("127.0.0.1", "service.example")
        resolver.addresses["service.example"] = [HERE]
        assert await relay.egress.check_url(url, HERE) is None
        assert await refused(relay, url) == ""
        resolver.addresses["service.example"] = ["169.254.169.254"]
        assert "never a target" in await refused(relay, url)
        resolver.addresses["service.example"] = ["192.0.2.99"]
        assert "is not the address" in await refused(relay, url)
        resolver.addresses["service.example"] = ["192.0.2.99", HERE]
        assert await refused(relay, url) == ""
    resolver.addresses["mine.example"] = [HERE]
    assert "a loop" in await refused(relay, f"http://mine.example:{relay.port}/")


async def test_an_allowed_host_may_be_anywhere_but_here(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
):
    resolver = Resolver(monkeypatch)
    async with service(echo()) as url:
        resolver.addresses["allowed.example"] = [HERE]
        assert await refused(relay, url.replace(HERE, "allowed.example"), peer=ELSEWHERE) == ""
        said = await refused(relay, f"http://allowed.example:{relay.port}/", peer=ELSEWHERE)
        assert "a loop" in said


async def test_pools_are_not_shared_between_registrants(relay: Relay):
    """A connection that one may open is no connection for another who may not."""
    async with service(echo()) as url:
        assert await refused(relay, url, peer=HERE) == ""
        assert relay.http.connections() == 1
        assert "is not the address" in await refused(relay, url, peer=ELSEWHERE)


# Who calls


def checked(head: bytes, key: str) -> dict[str, str]:
    """Read Hilum-Principal as a service would; fails if the signature is not right."""
    line = head.split(b"Hilum-Principal: ")[1].split(b"\r\n")[0].decode()
    said, mark, mac = line.rpartition(";mac=")
    assert mark
    assert hmac.compare_digest(hmac.new(key.encode(), said.encode(), sha256).hexdigest(), mac)
    who, *pairs = said.split(";")
    return {"id": unquote(who), **dict(pair.split("=") for pair in pairs)}


async def test_a_service_can_verify_who_calls(relay: Relay):
    seen: list[tuple[bytes, bytes]] = []
    async with service(echo(seen)) as url:
        await relay.method("Who/am", f"{url}/")
        key = service_key(SITE_KEY, "site:service", "Who")
        await relay.ask("/Who/am")
        relay.token = await relay.issue("site:a;kind=administrator", kind="device")
        await relay.ask("/Who/am")
        relay.token = ""
        await relay.ask("/Who/am")
    minute = time.time() // 60
    said = [checked(head, key) for head, _ in seen]
    assert [(who["id"], who["kind"]) for who in said] == [
        ("site:phone", "service"),
        ("site:a;kind=administrator", "device"),
        ("anonymous:http", "anonymous"),
    ]
    assert all(minute - 1 <= int(who["t"]) <= minute for who in said)
    other = service_key(SITE_KEY, "site:other", "Who")
    with pytest.raises(AssertionError):
        checked(seen[0][0], other)


def test_keys_differ_by_owner_and_microservice():
    keys = {
        service_key(site, owner, microservice)
        for site in (b"1" * 32, b"2" * 32)
        for owner in ("site:a", "site:b")
        for microservice in ("a", "b", "a\0b", "")
    }
    assert len(keys) == 16


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 2**31))
def test_no_principal_breaks_out_of_its_line(id_: str, kind: str, minute: int):
    with contextlib.suppress(UnicodeEncodeError):
        line = Assertions("key").line(Principal(id_, kind), minute)
        assert line.endswith(b"\r\n")
        assert not set(line[:-2]) & set(b"\r\n\0 ") - {32}
        assert checked(line, "key")["id"] == id_


async def test_a_token_never_reaches_a_service(relay: Relay):
    """Not in any field, nor when the client repeats or misspells them."""
    got = b""

    async def hostile(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while data := await reader.read(65_536):
            got += data
            writer.write(
                b"HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer\r\nContent-Length: 0\r\n"
                b"Location: http://127.0.0.1:9/\r\n\r\n"
            )

    async with service(hostile) as url, connected(relay.port) as client:
        await relay.method("Spy/on", f"{url}/", safe=True)
        secret = relay.token.encode()
        for raw in (
            relay.request("/Spy/on", b"x", close=False),
            relay.request("/Spy/on", verb="GET", close=False),
            relay.request("/Spy/on", b"x", "Connection: authorization", close=False),
            relay.request("/Spy/on", b"", "Transfer-Encoding: chunked", close=False).replace(
                b"Content-Length: 0\r\n", b""
            )
            + b"0\r\nAuthorization: Bearer %b\r\n\r\n" % secret,
        ):
            answer = await client.ask(raw)
            assert answer.code == 401
            assert answer.get(b"hilum-origin") == b"provider"
        assert got.count(b"HTTP/1.1\r\n") == 4
        assert secret not in got
        assert b"uthorization" not in got


def test_who_has_no_address_binds_nothing_of_its_own():
    """A client that hung up has none; an empty one would be an operator's."""
    with pytest.raises(Forbidden):
        Egress([]).permitted(["127.0.0.1"], Origin("http", "localhost", 80, NOBODY))
    with pytest.raises(Forbidden):
        Egress([]).permitted([NOBODY], Origin("http", NOBODY, 80, NOBODY))
