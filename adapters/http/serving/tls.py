"""TLS of a listener: certificate files, read again when they change."""

import asyncio
import logging
import ssl
from collections.abc import Sequence
from pathlib import Path

from gateway.settings import Listen

log = logging.getLogger("hilum.tls")

WATCH_SECONDS = 5.0
ALPN = ("http/1.1",)


def server_context(listen: Listen, protocols: Sequence[str] = ALPN) -> ssl.SSLContext | None:
    """Return the TLS context of a listener, None when it has no certificate."""
    if listen.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(list(protocols))
    context.load_cert_chain(listen.tls_certificate, listen.tls_key)
    return context


async def watch_certificate(
    context: ssl.SSLContext, listen: Listen, protocols: Sequence[str] = ALPN
) -> None:
    """Load the files again whenever one of them changes; new connections use them, for ever.

    Files that do not load are reported, and the old certificate goes on serving.
    """
    paths = [path for path in (listen.tls_certificate, listen.tls_key) if path is not None]
    seen = await asyncio.to_thread(_stamps, paths)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        now = await asyncio.to_thread(_stamps, paths)
        if now == seen:
            continue
        seen = now
        try:
            fresh = await asyncio.to_thread(server_context, listen, protocols)
        except (ssl.SSLError, OSError) as error:
            log.warning("%s does not load, the old certificate goes on: %s", paths[0], error)
        else:
            _replace(context, fresh)
            log.info("%s was loaded again", paths[0])


def _replace(context: ssl.SSLContext, fresh: ssl.SSLContext | None) -> None:
    """Let each new handshake use another context, in one step.

    Loading into the old one is no such step: with a certificate whose key is not there yet it
    would be left without either.
    """

    def choose(
        handshake: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _old: ssl.SSLContext
    ) -> None:
        if fresh is not None:
            handshake.context = fresh

    context.sni_callback = choose


def _stamps(paths: list[Path]) -> list[tuple[int, int]]:
    stamps = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            stamps.append((0, 0))
        else:
            stamps.append((stat.st_mtime_ns, stat.st_ino))
    return stamps
