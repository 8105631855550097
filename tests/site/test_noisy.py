"""One noisy device among many: with a QualityPolicy the others' p99 at most doubles (issue 4)."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.adapters.mqtt_bytes import connect, packet, publish, string
from tests.running import Gateway, Service

RATE = 50
"""Messages a second of one device."""
SLACK = 0.002
"""Seconds that say more about this machine than about the site."""


def quality(site: Gateway, name: str, **spec: object) -> None:
    manifest = {
        "apiVersion": "hilum/v1",
        "kind": "QualityPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }
    site.apply(json.dumps(manifest))


class Device:
    """A client of MQTT 3.1.1 on a plain socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, site: Gateway, name: str, token: str) -> "Device":
        where = urlsplit(site.mqtt)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        said = string("token") + string(token)
        writer.write(connect(name, 4, flags=0xC2, payload=said))
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
        return cls(reader, writer)

    async def tell(self, topic: str, number: int) -> float:
        """Publish at QoS 1; return after how many seconds it was acknowledged."""
        begun = time.perf_counter()
        self.writer.write(publish(topic, b"21.5", 4, first=0x32, pid=number))
        assert await self.reader.readexactly(4) == packet(0x40, number.to_bytes(2, "big"))
        return time.perf_counter() - begun


async def shout(device: Device, topic: str) -> None:
    """Publish as much as the connection takes."""
    burst = publish(topic, b"x" * 100, 4) * 200
    while True:
        device.writer.write(burst)
        await device.writer.drain()


@contextlib.asynccontextmanager
async def shouting(device: Device, topic: str) -> AsyncIterator[None]:
    task = asyncio.ensure_future(shout(device, topic))
    await asyncio.sleep(0.2)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def p99(devices: list[Device], rounds: int) -> float:
    took = [
        await device.tell("room/quiet", number)
        for number in range(1, rounds + 1)
        for device in devices
    ]
    return sorted(took)[int(len(took) * 0.99)]


async def compare(site: Gateway, many: int, rounds: int) -> None:
    quiet_token, noisy_token = site.token_for("device:quiet"), site.token_for("device:noisy")
    devices = [await Device.connect(site, f"quiet{n}", quiet_token) for n in range(many)]
    noisy = await Device.connect(site, "noisy", noisy_token)
    await p99(devices, 1)
    ratios = []
    for _ in range(5):  # the machine is noisy too: the best of some pairs counts
        alone = await p99(devices, rounds)
        async with shouting(noisy, "room/noise"):
            beside = await p99(devices, rounds)
        ratios.append((beside - SLACK) / alone)
        if ratios[-1] <= 2.0:
            break
    for device in (*devices, noisy):
        device.writer.transport.abort()
    assert min(ratios) <= 2.0, ratios


def crowd(site: Gateway, many: int, rounds: int) -> None:
    channels = {"quiet": {}, "noise": {}}
    site.register({"microservice": "Room", "objects": [{"name": "room", "channels": channels}]})
    site.allow("room", {"kind": "service"}, "publish", "room/**")
    quality(
        site,
        "noise",
        names=["room/noise"],
        per=["principal"],
        messages={"rate": RATE, "burst": RATE},
    )
    asyncio.run(compare(site, many, rounds))
    events = site.ask("accounts/list", {"by": "binding"})["items"]
    noise = next(item for item in events if item["binding"].endswith("room/noise"))
    assert noise["events"] < 40 * RATE, "the noisy device was held back"


def test_one_noisy_device_among_forty(tmp_path):
    with Gateway(tmp_path) as site:
        crowd(site, many=40, rounds=8)


@pytest.mark.full
def test_one_noisy_device_among_a_thousand(tmp_path):
    with Gateway(tmp_path) as site:
        crowd(site, many=1000, rounds=2)


def test_a_service_that_fails_gets_less_for_a_while_and_operators_see_why(tmp_path):
    with Gateway(tmp_path) as site, Service() as service:
        site.apply(
            json.dumps(
                {
                    "apiVersion": "hilum/v1",
                    "kind": "Binding",
                    "metadata": {"name": "ill"},
                    "spec": {"name": "ill/ask", "endpoint": f"{service.url}/ask"},
                }
            )
        )
        quality(site, "shed", names=["ill/**"], shed={"errors": 0.5, "calls": 10, "seconds": 4})
        service.status = 503

        def policies() -> list[dict[str, object]]:
            found = site.ask("policy/get", {"kind": "QualityPolicy"})["items"]
            return [item for item in found if item["metadata"]["name"] != "shed"]

        end = time.monotonic() + 10
        statuses: set[int] = set()
        while time.monotonic() < end and 429 not in statuses:
            statuses.add(site.http("POST", "/ill/ask", b"{}").status)
            time.sleep(0.01)
        assert statuses == {503, 429}
        (policy,) = policies()
        assert policy["spec"]["names"] == ["localhost/ill/ask"]
        assert "calls failed" in policy["spec"]["description"]
        assert "shed-" in site.cli("get", "QualityPolicy").stdout
        service.status = 200
        while time.monotonic() < end + 10 and policies():
            time.sleep(0.2)
        assert not policies()
        assert [site.http("POST", "/ill/ask", b"{}").status for _ in range(5)] == [200] * 5
