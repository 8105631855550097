"""Certificates and keys of a running site: its authority, TLS of its listeners, devices' keys."""

import asyncio
import logging
import secrets
from collections.abc import Coroutine, Sequence
from typing import Any

from adapters.tls import HTTP, NoTls, Tls
from gateway.identity.authority import AuthorityFolder
from gateway.identity.certificates import Trust
from gateway.identity.device_keys import DeviceKeys
from gateway.identity.endpoint_secrets import EndpointSecrets
from gateway.objects.credentials import Issuer
from gateway.objects.endpoint_secrets import EndpointSecretsObject
from gateway.objects.identity import IdentityObject
from gateway.objects.local import LocalProvider
from gateway.objects.serve import serve_object
from gateway.settings import Config, Listen
from gateway.site import Site
from policy.identity.site_ca import CertificateError, Presented
from policy.model import Principal

log = logging.getLogger("hilum.tls")

REFRESH_SECONDS = 3600.0
"""How often it is looked whether the site's revocation list has to be written anew."""


class Certificates:
    """What listeners and objects of a site share; made before the site starts."""

    def __init__(self, site: Site, config: Config) -> None:
        state = config.site.state
        self._site = site
        self.authority = AuthorityFolder(state / "ca", random=secrets.token_bytes, time=site.time)
        self.keys = DeviceKeys(state)
        self.secrets = EndpointSecrets(state)
        self.issuer = Issuer(site, self.authority, self.keys, secrets.token_bytes)
        self._listeners: list[Tls] = []

    def tls(self, listen: Listen | None, protocols: Sequence[str] = HTTP) -> Tls | NoTls:
        """Return the TLS of a listener, also when it has none."""
        if listen is None or listen.tls_certificate is None:
            return NoTls()
        site = self._site
        trust = Trust(self._holder, self._is_void, lambda credential: site.end_open([credential]))
        site.identity.others.append(trust.holds)
        tls = Tls(listen, protocols, self.authority, trust, site.time)
        self._listeners.append(tls)
        return tls

    def serve(self, local: LocalProvider) -> None:
        """Give the site the object that devices get their credentials from."""
        identity = IdentityObject(self._site, self.issuer, secrets.token_bytes)
        serve_object(self._site, local, "identity", identity.handlers())
        endpoint_secrets = EndpointSecretsObject(self._site, self.secrets)
        serve_object(self._site, local, "registry", endpoint_secrets.handlers())

    async def start(self) -> None:
        """Go on with the credentials of the log; call it when the site has started."""
        await asyncio.to_thread(self.keys.load)
        await asyncio.to_thread(self.secrets.load)
        self.issuer.start()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on while the site runs, once all listeners are there."""
        return [*(tls.watch() for tls in self._listeners), self._sweep(), self._refresh()]

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self.issuer.sweep()
            except OSError as error:
                log.warning("the keys of a claim that is over cannot be removed: %s", error)

    async def _refresh(self) -> None:
        while True:
            try:
                if await asyncio.to_thread(self.authority.exists):
                    await asyncio.to_thread(self.authority.refresh)
            except (OSError, CertificateError) as error:
                log.warning("the site's revocation list cannot be written anew: %s", error)
            await asyncio.sleep(REFRESH_SECONDS)

    def _holder(self, presented: Presented) -> Principal | None:
        """Return who has a certificate of the site's own authority."""
        for uri in presented.uris:
            principal = self._site.identity.by_certificate(uri, presented.fingerprint)
            if principal is not None:
                return principal
        return None

    def _is_void(self, principal: str, issued: float) -> bool:
        return self._site.catalog.revoked.get(principal, 0) > issued
