"""Which brokers we connect to, as whom: accounts from the configuration, addresses from egress."""

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

from adapters.mqtt.outbound.link import (
    CONNECT_SECONDS,
    Link,
    LinkError,
    Message,
    Settings,
    UnsupportedVersion,
)
from gateway.egress import Egress, Forbidden, Origin
from gateway.settings import Broker
from registry.urls import Url, parse_url

DIALS = 2
"""Connections that are made at the same time: each takes a thread until the broker answers."""


OLD = 1000
"""Brokers that are remembered to know MQTT 3.1.1 only."""


class Peer(NamedTuple):
    """A broker and who we are there: what shares connections."""

    origin: Origin
    account: Broker | None


class Brokers:
    """Opens links. ``site_id`` is a text that stays the same for the site, and is random."""

    def __init__(self, egress: Egress, accounts: Sequence[Broker], site_id: str) -> None:
        self.site_id = site_id[:16]
        self._egress = egress
        self._accounts = [(parse_url(account.url), account) for account in accounts]
        self._accounts.sort(key=lambda pair: len(pair[0].path), reverse=True)
        self._dials = asyncio.Semaphore(DIALS)
        self._old: set[Peer] = set()
        """Brokers that know MQTT 3.1.1 only."""

    def peer(self, url: Url, peer: str) -> Peer:
        """Return the broker of a URL; an account serves its own URL and what is below it."""
        origin = Origin(url.scheme, url.host, url.port, peer)
        account = next((a for prefix, a in self._accounts if url.within(prefix)), None)
        return Peer(origin, account)

    def client_id(self, peer: Peer) -> str:
        """Return the client id of the session that is kept at a broker (MQTT 5.0 section 3.1.3.1).

        At most 23 characters, which every broker takes.
        """
        said = f"{peer.origin} {peer.account.username if peer.account else ''}"
        return f"hilum-{self.site_id[:8]}-{sha256(said.encode()).hexdigest()[:8]}"

    async def dial(
        self,
        peer: Peer,
        client_id: str,
        keep: int,
        heard: Callable[[Link, Message, int], None],
        posted: Callable[[int, int], None],
    ) -> Link:
        """Connect to the first address that answers; raises LinkError."""
        origin = peer.origin
        settings = await self._settings(peer, client_id, keep)
        try:
            addresses = await self._egress.resolve(origin)
        except (Forbidden, OSError, UnicodeError) as error:
            raise LinkError(f"cannot connect to {origin.host}: {error}") from None
        why = LinkError(f"{origin.host} has no address")
        for address in addresses:
            for modern in (False,) if peer in self._old else (True, False):
                settings = settings._replace(modern=modern)
                link = Link(address, origin.port, settings, heard, posted)
                try:
                    await _knock(address, origin.port)
                    await self._open(link)
                except UnsupportedVersion as error:
                    why = error
                except LinkError as error:
                    why = error
                    break
                else:
                    self._remember(peer, modern=modern)
                    return link
        raise why

    def _remember(self, peer: Peer, *, modern: bool) -> None:
        """Note which version a broker knows; it is asked for MQTT 5 again after a restart."""
        if modern:
            self._old.discard(peer)
        elif len(self._old) < OLD:
            self._old.add(peer)

    async def _open(self, link: Link) -> None:
        """Open a link; its thread is one of few, so that others wait for it, but no longer."""
        async with self._dials:
            opening = asyncio.ensure_future(link.open())
            attached = asyncio.ensure_future(link.attached.wait())
            try:
                await asyncio.wait([opening, attached], return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                opening.cancel()
                raise
            finally:
                attached.cancel()
        await opening

    async def _settings(self, peer: Peer, client_id: str, keep: int) -> Settings:
        account = peer.account
        tls = peer.origin.host if peer.origin.scheme == "mqtts" else ""
        if account is None:
            return Settings(client_id, keep=keep, tls=tls)
        password = ""
        if account.password_file is not None:
            try:
                password = (await asyncio.to_thread(account.password_file.read_text)).strip()
            except (OSError, UnicodeError) as error:
                raise LinkError(
                    f"cannot read the password file of {account.url}: {error}"
                ) from None
        return Settings(client_id, account.username, password, keep, tls, account.ca)


async def _knock(address: str, port: int) -> None:
    """See whether anybody listens, without a thread that would wait for it; raises LinkError."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(address, port)
        writer.close()
    except TimeoutError:
        raise LinkError(f"cannot connect to {address}:{port} in time") from None
    except OSError as error:
        raise LinkError(f"cannot connect to {address}:{port}: {error}") from None
