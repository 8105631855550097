"""Announces the listeners that tell of the directory, if the site is to be found (DNS-SD)."""

import logging
from typing import TYPE_CHECKING

from gateway.settings import Config

if TYPE_CHECKING:
    from adapters.dnssd.announce import Announcer

log = logging.getLogger("hilum.directory")


class Announcing:
    """Announces while the site runs; the library that it needs is an optional one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._announcer: Announcer | None = None

    async def start(self, http: int, directory: int, coap: int) -> None:
        """Announce the directory's listener, else the one for data, and CoAP's; 0 is not open."""
        config = self._config
        if not config.directory.announce:
            return
        from adapters.dnssd.announce import Announced, Announcer

        listen, port = (config.directory, directory) if directory else (config.http, http)
        scheme = "https" if listen.tls_certificate is not None else "http"
        services = [Announced(scheme, listen.host, port)]
        if coap:
            services.append(Announced("coap", config.coap.host, coap))
        self._announcer = Announcer(config.site.authority)
        try:
            await self._announcer.announce(services)
        except OSError as error:
            log.warning("the directory is not announced by DNS-SD: %s", error)

    async def stop(self) -> None:
        """Say goodbye."""
        if self._announcer is not None:
            await self._announcer.close()
