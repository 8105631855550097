"""TLS of all listeners: certificates, and whose clients' ones count, read again when they change.

Adapters do not import this: they are handed a context, and ``identify`` for their connections.
"""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.identity.authority import AuthorityFolder
from gateway.identity.certificates import Anchor, Trust, read_anchors
from gateway.message import Refusal
from gateway.settings import Listen
from policy.identity.site_ca import CertificateError
from policy.model import Principal

log = logging.getLogger("hilum.tls")

WATCH_SECONDS = 2.0
HTTP = ("http/1.1",)


class _Loaded(NamedTuple):
    context: ssl.SSLContext
    anchors: list[Anchor]


class NoTls:
    """A listener without TLS."""

    context = None

    def identify(self, _: object) -> None:
        """Return nobody."""


class Tls:
    """TLS of one listener. ``time`` gives Unix seconds.

    ``context`` is the one to listen with; files that are read later get into it.
    """

    def __init__(
        self,
        listen: Listen,
        protocols: Sequence[str],
        authority: AuthorityFolder,
        trust: Trust,
        time: Callable[[], float],
    ) -> None:
        self._listen = listen
        self._protocols = tuple(protocols)
        self._authority = authority
        self._trust = trust
        self._time = time
        self._paths = self._watched()
        self._seen = _stamps(self._paths)
        loaded = self._load()
        self.context = loaded.context
        trust.load(loaded.anchors)

    def identify(self, transport: asyncio.BaseTransport) -> Principal | None:
        """Return who a connection's certificate stands for, None without one; raises Refusal."""
        if self._listen.client_certificates == "none":
            return None
        handshake = transport.get_extra_info("ssl_object")
        der = handshake.getpeercert(binary_form=True) if handshake is not None else None
        if der is None:
            return None
        try:
            return self._trust.principal_of(der, self._time())
        except Refusal as refusal:
            peer = transport.get_extra_info("peername")
            log.info("%s from %s", refusal.detail, peer[0] if peer else "somebody")
            raise

    async def watch(self) -> None:
        """Load the files again whenever one of them changes, for ever.

        Files that do not load are reported, and what was loaded before goes on serving.
        """
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Load the files again if one of them has changed; end who showed what has expired."""
        self._trust.sweep(self._time())
        now = await asyncio.to_thread(_stamps, self._paths)
        if now == self._seen:
            return
        self._seen = now
        try:
            loaded = await asyncio.to_thread(self._load)
        except (ssl.SSLError, CertificateError, OSError) as error:
            names = ", ".join(str(path) for path in self._paths)
            log.warning("one of %s does not load, what was loaded goes on: %s", names, error)
        else:
            _replace(self.context, loaded.context)
            self._trust.load(loaded.anchors)
            log.info("%s was loaded again", self._listen.tls_certificate)

    def _watched(self) -> list[Path]:
        listen = self._listen
        paths = [listen.tls_certificate, listen.tls_key]
        if listen.client_certificates != "none":
            own = self._authority
            paths += [listen.client_ca, listen.client_crl, own.certificate, own.revocations]
        return [path for path in paths if path is not None]

    def _load(self) -> _Loaded:
        listen = self._listen
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(list(self._protocols))
        context.load_cert_chain(str(listen.tls_certificate), listen.tls_key)
        if listen.client_certificates == "none":
            return _Loaded(context, [])
        anchors = self._anchors()
        required = listen.client_certificates == "required"
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if anchors:
            pems = b"\n".join(anchor.pem for anchor in anchors)
            context.load_verify_locations(cadata=pems.decode("ascii", "replace"))
        return _Loaded(context, anchors)

    def _anchors(self) -> list[Anchor]:
        listen, own = self._listen, self._authority
        anchors: list[Anchor] = []
        if own.exists():
            anchors += read_anchors(own.certificate.read_bytes(), own.revocations.read_bytes(), "")
        if listen.client_ca is not None:
            lists = listen.client_crl.read_bytes() if listen.client_crl is not None else None
            anchors += read_anchors(listen.client_ca.read_bytes(), lists, listen.client_realm)
        return anchors


def _replace(context: ssl.SSLContext, fresh: ssl.SSLContext) -> None:
    """Let each new handshake use another context, in one step.

    Loading into the old one is no such step: with a certificate whose key is not there yet it
    would be left without either. The certificates of clients are checked with the new one too.
    """

    def choose(
        handshake: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _old: ssl.SSLContext
    ) -> None:
        handshake.context = fresh

    context.sni_callback = choose


def _stamps(paths: Sequence[Path]) -> list[tuple[int, int]]:
    stamps = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            stamps.append((0, 0))
        else:
            stamps.append((stat.st_mtime_ns, stat.st_ino))
    return stamps
