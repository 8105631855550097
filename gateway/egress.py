"""Where calls may go: an endpoint's address is checked each time it is resolved (design 5).

A name that resolves to another address tomorrow (DNS rebinding) is checked again tomorrow.
"""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from registry.urls import parse_url

NOBODY: Final = "0.0.0.0"  # noqa: S104 (nothing is bound)
"""The peer of a caller whose address is not known: it has no address of its own to bind."""

_NAT64: Final = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Origin(NamedTuple):
    """Where a call goes, for whom: ``peer`` is the address of who bound the endpoint.

    An operator's own binding has no peer: it may go anywhere but to us and to link-local.
    """

    scheme: str
    host: str
    port: int
    peer: str


class Forbidden(Exception):
    """No address of an endpoint may be connected to; the text says which and why."""


class Egress:
    """The rules of one site.

    ``allow`` are networks or host names, each with an optional ``:port``, that any registrant may
    bind; ``listeners`` are our own (host, port) pairs, never a target.
    """

    def __init__(self, allow: Iterable[str], listeners: Iterable[tuple[str, int]] = ()) -> None:
        self._hosts: set[tuple[str, int]] = set()
        self._networks: list[tuple[Network, int]] = []
        self._own_ports = {port for _, port in listeners}
        for entry in allow:
            self._add(entry)

    def own(self, port: int) -> None:
        """Add a port that this site listens on itself."""
        self._own_ports.add(port)

    async def resolve(self, origin: Origin) -> list[str]:
        """Return the addresses of an origin that may be connected to, best first.

        Raises Forbidden when it has others only, OSError when it has none.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        return self.permitted([str(info[4][0]) for info in found], origin)

    def permitted(self, addresses: Iterable[str], origin: Origin) -> list[str]:
        """Return those addresses that may be connected to; raises Forbidden when there is none."""
        why = f"{origin.host} has no address"
        good = []
        for text in dict.fromkeys(addresses):
            refused = self._refuse(_plain(text), origin)
            if refused is None:
                good.append(text)
            else:
                why = refused
        if not good:
            raise Forbidden(why)
        return good

    async def check_url(self, url: str, peer: str) -> str | None:
        """Return why an endpoint's URL may not be bound from a peer, None when it may.

        A host that does not resolve now may be bound: it is checked at each connect.
        """
        target = parse_url(url, template=True)
        try:
            await self.resolve(Origin(target.scheme, target.host, target.port, peer))
        except Forbidden as error:
            return str(error)
        except OSError:
            pass
        return None

    def _refuse(self, address: Address, origin: Origin) -> str | None:
        where = f"{address}:{origin.port}"
        inner = _carried(address)
        if inner.is_link_local or inner.is_multicast or inner.is_unspecified:
            return f"{where} is a link-local, multicast or unspecified address: never a target"
        if origin.port in self._own_ports and (address.is_loopback or _can_bind(address)):
            return f"{where} is a listener of this site: a loop"
        if not origin.peer or self._covers(address, origin.host, origin.port):
            return None
        peer = _plain(origin.peer)
        if address == peer or (address.is_loopback and peer.is_loopback):
            return None
        return (
            f"{where} is not the address {peer} that registered it; an operator can allow it "
            "with [egress] allow"
        )

    def _covers(self, address: Address, host: str, port: int) -> bool:
        if (host.lower(), port) in self._hosts or (host.lower(), 0) in self._hosts:
            return True
        return any(address in network and wanted in (0, port) for network, wanted in self._networks)

    def _add(self, entry: str) -> None:
        bare, _, port = entry.rpartition(":")
        if not bare or not port.isdigit() or (entry.count(":") > 1 and not bare.endswith("]")):
            bare, port = entry, "0"
        try:
            self._networks.append((ip_network(bare.strip("[]"), strict=False), int(port)))
        except ValueError:
            self._hosts.add((bare.lower(), int(port)))


def _plain(text: str) -> Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _carried(address: Address) -> Address:
    """Return the IPv4 address that a translator or tunnel on the way would send to, or itself.

    NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to link-local addresses of IPv4, too.
    """
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.sixtofour or address
    return address


def _can_bind(address: Address) -> bool:
    """Return whether an address is one of this machine's (only then can it be bound)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
