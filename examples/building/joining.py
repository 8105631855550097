"""How the devices get what they need to authenticate, and register, each over its protocol."""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

from examples.bootstrapping.site import Site
from examples.building.by_coap import CoapDevice
from examples.building.by_http import HttpDevice, Luminaires
from examples.building.by_mqtt import MqttDevice
from examples.building.fleet import Device

AT_ONCE = 16
READINGS = {"temperature": 21.5, "humidity": 40, "co2": 600, "occupancy": 2, "light": 80}


class Connected(Protocol):
    """A device that can speak to the site, over whatever protocol."""

    async def call(self, name: str, document: object) -> Any:
        """Call a method of the site."""

    async def publish(self, channel: str, value: object) -> None:
        """Publish a measurement."""


def make_contexts(state: Path, folder: Path, devices: Sequence[Device]) -> None:
    """Make both sides of the security contexts of the devices on CoAP (RFC 8613)."""
    spoken = [device for device in devices if device.sort.protocol == "coap"]
    for number, device in enumerate(spoken):
        secret = {"secret_hex": secrets.token_hex(16), "salt_hex": secrets.token_hex(8)}
        own = f"{number:04x}"
        sides = ((state / "oscore" / device.id, "00", own), (folder / device.id, own, "00"))
        for side, sender, recipient in sides:
            side.mkdir(mode=0o700, parents=True)
            ids = {"sender-id_hex": sender, "recipient-id_hex": recipient}
            _keep(side / "settings.json", {**ids, "algorithm": "AES-CCM-16-64-128"})
            _keep(side / "secret.json", secret)
        who = {"principal": device.principal, "kind": "device"}
        _keep(state / "oscore" / device.id / "principal.json", who)


def connection(site: Site, folder: Path, device: Device) -> MqttDevice | CoapDevice | HttpDevice:
    """Return how a device connects; it gets its credential from the operator first."""
    asked: dict[str, object] = {"principal": device.principal, "kind": "device"}
    if device.sort.protocol == "mqtt":
        issued = site.ask("$site/identity/secret", asked)
        return MqttDevice(site.ready["mqtt"], issued["user"], issued["secret"])
    if device.sort.protocol == "coap":
        return CoapDevice(site.ready["coap"], folder / device.id)
    issued = site.ask("$site/token/issue", {**asked, "ttl": 3600})
    return HttpDevice(site.ready["http"], issued["token"])


async def join(
    site: Site,
    folder: Path,
    devices: Sequence[Device],
    luminaires: Luminaires,
    stack: AsyncExitStack,
    joined: Callable[[Device], None],
) -> None:
    """Let all devices connect, register and publish a first value."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(device: Device) -> None:
        async with gate:
            made = await asyncio.to_thread(connection, site, folder, device)
            device_: Connected = await stack.enter_async_context(made)
            endpoint = f"{luminaires.url}/{device.id}" if device.sort.protocol == "http" else ""
            await device_.call("$site/registry/register", device.manifest(endpoint))
            await device_.publish(f"{device.name}/value", READINGS[device.sort.name])
            joined(device)

    async with asyncio.TaskGroup() as group:
        for device in devices:
            group.create_task(one(device))


def _keep(file: Path, document: object) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(document))
