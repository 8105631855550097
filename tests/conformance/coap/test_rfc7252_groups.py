"""Discovery by multicast, over the loopback interface (RFC 7252 section 8)."""

import asyncio
import contextlib
import socket

import pytest

from adapters.coap.serving.listener import CoapListener
from adapters.coap.serving.multicast import GROUPS
from adapters.coap.wire.codec import CON, GET, NON, POST, Message, decode, encode
from adapters.coap.wire.options import ordered
from policy.model import Action
from tests.adapters.coap_site import CoapSettings, path_options, running_coap
from tests.conformance.clauses import clause

SETTINGS = CoapSettings(anonymous=True, multicast=True, leisure=0.05)
CORE = ".well-known/core"


@pytest.fixture
async def site(tmp_path):
    async with running_coap(tmp_path, SETTINGS) as running:
        assert running.listener._groups, "there is no multicast on the loopback interface"
        yield running


@contextlib.contextmanager
def everybody(site):
    """Ask all nodes; returns what is said in answer, in order."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        asking.setblocking(False)
        asking.bind(("127.0.0.1", 0))

        async def ask(path, kind=NON, code=GET, *options):
            message = Message(kind, code, 7, b"all", ordered([*path_options(path), *options]))
            asking.sendto(encode(message), (GROUPS[4], site.port))
            try:
                async with asyncio.timeout(0.15):
                    loop = asyncio.get_running_loop()
                    data = await loop.sock_recv(asking, 2048)
                    assert len(data) <= 3 * len(encode(message))
                    return decode(data)
            except TimeoutError:
                return None

        yield ask


@clause("RFC7252-8.2")
async def test_discovery_is_answered_from_the_listeners_own_port(site):
    with everybody(site) as ask:
        answer = await ask(f"{CORE}?href=/Plan")
        assert (answer.kind, answer.code, answer.token) == (NON, 0x45, b"all")
        assert b"</Plan>".startswith(answer.payload[:7])


@clause("RFC7252-8.1", "RFC7252-8.2")
@pytest.mark.parametrize(
    ("path", "kind", "code", "options"),
    [
        (f"{CORE}?rt=nothing-like-this", NON, GET, []),
        (CORE, CON, GET, []),
        (CORE, NON, POST, []),
        ("Plan/show", NON, GET, []),
        ("Plan//show", NON, GET, []),
        (CORE, NON, GET, [(2049, b"")]),
    ],
)
async def test_nothing_else_is_answered(site, path, kind, code, options):
    with everybody(site) as ask:
        assert await ask(path, kind, code, *options) is None


@clause("RFC7252-8.2")
async def test_what_nobody_may_see_is_not_shown(site):
    await site.deny("closed", Action.DESCRIBE)
    with everybody(site) as ask:
        assert await ask(CORE) is None


@clause("RFC7252-8.1")
async def test_noise_is_ignored(site):
    with everybody(site) as ask:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
            noise.setsockopt(
                socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1")
            )
            for data in (b"", b"x", bytes(range(60)), b"\x40\x01\x00\x01\xff"):
                noise.sendto(data, (GROUPS[4], site.port))
        assert await ask(f"{CORE}?href=/Plan*") is not None


async def test_a_machine_without_multicast_is_served_all_the_same(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(GROUPS, 4, "127.0.0.1")
    async with running_coap(tmp_path, SETTINGS) as site:
        assert isinstance(site.listener, CoapListener)
        assert "multicast is not answered" in caplog.text
