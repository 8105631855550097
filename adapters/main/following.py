"""The directories of other sites that a running site follows, and what becomes of them here."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from adapters.control.metrics import Gauge
from adapters.fetch import Client, Fetcher
from gateway.directory.following import Entry, Following, State, Times
from gateway.directory.indexing import Indexing
from gateway.objects.local import LocalProvider
from gateway.objects.remotes import RemotesObject
from gateway.objects.serve import serve_object
from gateway.settings import Config, Remote
from gateway.site import Site
from registry.index.triples import Offered
from registry.names import Name

log = logging.getLogger("hilum.directory")

SECONDS = 20.0
"""For one page of another site."""
PAGE = 32 * 1024 * 1024
"""Bytes of it."""


class Followings:
    """One ``Following`` for each remote site that the settings say to follow."""

    def __init__(
        self,
        site: Site,
        local: LocalProvider,
        config: Config,
        indexing: Indexing,
        silent: set[str],
        clock: Callable[[], float],
    ) -> None:
        """``silent`` is told the authorities of the sites that do not answer."""
        self._indexing = indexing
        self._silent = silent
        self._fetchers: list[Fetcher] = []
        self.sites: list[Following] = []
        self._tasks: list[asyncio.Task[None]] = []
        for remote in config.remote:
            if remote.follow:
                self.sites.append(self._following(remote, clock))
        serve_object(site, local, "registry", RemotesObject(site, self.sites).handlers())

    def start(self) -> None:
        """Begin to follow."""
        self._tasks = [asyncio.create_task(work) for work in self._work()]

    async def stop(self) -> None:
        """Follow no more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for fetcher in self._fetchers:
            fetcher.close()

    def sweep(self) -> None:
        """Once a second."""
        for following in self.sites:
            following.look()
            if following.state is State.STALE:
                self._silent.add(following.authority)
            else:
                self._silent.discard(following.authority)

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        return [
            Gauge(
                "hilum_followed_objects",
                "Objects that are known of another site",
                lambda: {each.authority: len(each.entries) for each in self.sites},
                label="site",
            ),
            Gauge(
                "hilum_followed_current",
                "Whether another site answers: what is known of it is not stale",
                lambda: {each.authority: each.state is State.CURRENT for each in self.sites},
                label="site",
            ),
        ]

    # Inside

    def _work(self) -> list[Coroutine[Any, Any, None]]:
        return [following.run() for following in self.sites]

    def _following(self, remote: Remote, clock: Callable[[], float]) -> Following:
        client = None
        if remote.certificate is not None and remote.key is not None:
            client = Client(remote.certificate, remote.key)
        fetcher = Fetcher(remote.ca, SECONDS, PAGE, client)
        self._fetchers.append(fetcher)
        following = Following(
            remote.authority,
            remote.url,
            fetcher,
            lambda: _authorization(remote.token_file),
            clock,
            Times(remote.stale_seconds, remote.forget_seconds),
        )
        following.changed.append(self._index)
        return following

    def _index(self, name: Name, entry: Entry | None) -> None:
        """Let the index follow. The other site's ids could be ours: its names stand for them."""
        if entry is None:
            self._indexing.put_foreign(name, None)
            return
        said = {key: entry.view.get(key) for key in ("title", "description")}
        text = msgspec.json.encode({k: v for k, v in said.items() if isinstance(v, str)}).decode()
        self._indexing.put_foreign(name, Offered(name, entry.object, text=text))


def _authorization(file: Path | None) -> str:
    """Return the Authorization field, read anew each time: a token may be renewed."""
    if file is None:
        return ""
    try:
        return f"Bearer {file.read_text().strip()}"
    except OSError as error:
        log.warning("the token in %s cannot be read: %s", file, error.strerror)
        return ""
