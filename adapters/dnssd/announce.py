"""Tells the local network where this site's directory is (W3C WoT Discovery 6.2, RFC 6763).

The instance is named as the site, and so is the host, whose addresses come along: clients have to
use that name, as the site answers to no other. python-zeroconf knows one type of a service; the
subtype that says what is a directory is answered by a second responder.
"""

import logging
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from ifaddr import get_adapters
from zeroconf import InterfaceChoice, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

TD: Final = "/.well-known/wot"
TCP: Final = "_wot._tcp.local."
DIRECTORY: Final = "_directory._sub._wot._tcp.local."
UDP: Final = "_wot._udp.local."
_EVERYWHERE: Final = ("0.0.0.0", "::", "")  # noqa: S104 (what listeners bind to)

log = logging.getLogger("hilum.directory")


class Announced(NamedTuple):
    """A listener at which the directory describes itself; ``host`` is what it is bound to."""

    scheme: str
    host: str
    port: int


class Announcer:
    """Announces listeners until it is closed; ``name`` is the site's authority."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._responders: list[AsyncZeroconf] = []

    async def announce(self, services: Collection[Announced]) -> None:
        """Announce listeners; raises OSError when there is no network to do so."""
        interfaces = _interfaces([service.host for service in services])
        for _ in range(2):
            self._responders.append(_responder(interfaces))
        first, second = self._responders
        for service in services:
            udp = service.scheme == "coap"
            await self._register(first, UDP if udp else TCP, service)
            if not udp:
                await self._register(second, DIRECTORY, service)
        log.info("announced by DNS-SD: %s", ", ".join(each.scheme for each in services))

    async def close(self) -> None:
        """Say goodbye, so that nobody keeps what is not there."""
        for responder in self._responders:
            await responder.async_unregister_all_services()
            await responder.async_close()
        self._responders = []

    async def _register(self, responder: AsyncZeroconf, kind: str, service: Announced) -> None:
        base = TCP if kind == DIRECTORY else kind
        info = ServiceInfo(
            kind,
            f"{self._name}.{base}",
            port=service.port,
            properties={"td": TD, "type": "Directory", "scheme": service.scheme},
            server=f"{self._name}.",
            parsed_addresses=_addresses(service.host),
        )
        broadcast = await responder.async_register_service(info, cooperating_responders=True)
        await broadcast


def _responder(interfaces: "Sequence[str] | InterfaceChoice") -> AsyncZeroconf:
    if isinstance(interfaces, InterfaceChoice):
        return AsyncZeroconf(interfaces)
    versions = {ip_address(each).version for each in interfaces}
    version = {4: IPVersion.V4Only, 6: IPVersion.V6Only}
    both = len(versions) > 1
    return AsyncZeroconf(
        list(interfaces), ip_version=IPVersion.All if both else version[versions.pop()]
    )


def _interfaces(hosts: Sequence[str]) -> "Sequence[str] | InterfaceChoice":
    """Return the addresses whose networks are told, all where a listener listens everywhere."""
    if any(host in _EVERYWHERE for host in hosts):
        return InterfaceChoice.Default
    return sorted({_literal(host) for host in hosts})


def _addresses(host: str) -> list[str]:
    """Return the addresses at which a listener is reached."""
    if host not in _EVERYWHERE:
        return [_literal(host)]
    found = [ip.ip for adapter in get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    return [each for each in found if not ip_address(each).is_loopback] or found


def _literal(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host
