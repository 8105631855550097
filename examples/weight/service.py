"""What makes a program a microservice: it registers, renews its lease, publishes and follows."""

import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.weight.by_http import HttpSite
from examples.weight.common import RETRY, Event, Site, SiteError

LEASE = 10
"""Seconds without renewal, after which the site takes a service for dead."""


class Microservice:
    """One instance of one version, from the command line; ``connect`` chooses its protocol."""

    def __init__(
        self, name: str, version: str = "1.0.0", connect: Callable[[str, str], Site] = HttpSite
    ) -> None:
        parser = ArgumentParser(description=f"The microservice {name} {version}")
        parser.add_argument("--site", required=True, help="the URL of its listener")
        parser.add_argument("--token-file", type=Path, required=True, help="who the service is")
        parser.add_argument("--instance", default="a", help="tells it from others like it")
        options = parser.parse_args()
        self.id = {"microservice": name, "version": version, "instance": options.instance}
        self.site = connect(options.site, options.token_file.read_text().strip())
        self._objects: list[dict[str, Any]] = []
        self._created: list[dict[str, Any]] = []
        self._key = b""
        self._registered = threading.Event()

    def register(self, *objects: dict[str, Any]) -> None:
        """Register objects, and renew the lease from now on."""
        self._objects = list(objects)
        self._register()
        threading.Thread(target=self._renew, daemon=True).start()
        print("ready", flush=True)

    def create(self, created: dict[str, Any]) -> None:
        """Create an object at run time; it stays bound to this instance."""
        self.site.call("$site/registry/create", {**self.id, "object": created})
        self._created.append(created)

    def publish(self, channel: str, event: dict[str, Any]) -> str:
        """Publish an event, as often as it takes, and return its id."""
        while True:
            try:
                return self.site.publish(channel, event)
            except SiteError as error:
                if 0 < error.status < 500:
                    raise
                print(f"{channel}: {error}", flush=True)
                time.sleep(RETRY)

    def follow(self, channel: str, take: Callable[[Event], object]) -> None:
        """Give every event of a channel to ``take``, in a thread of its own."""

        def run() -> None:
            for event in self.site.events(channel):
                try:
                    take(event)
                except SiteError as error:
                    print(f"{channel}: {error}", flush=True)

        threading.Thread(target=run, daemon=True).start()

    def rest(self) -> None:
        """Leave the work to the threads."""
        threading.Event().wait()

    def key(self) -> bytes:
        """Return the key that only the gateway and this microservice know."""
        self._registered.wait()
        return self._key

    def _register(self) -> None:
        manifest = {"apiVersion": "hilum/v1", **self.id, "lease": LEASE, "objects": self._objects}
        self._key = self.site.call("$site/registry/register", manifest)["key"].encode()
        self._registered.set()
        for created in self._created:
            self.site.call("$site/registry/create", {**self.id, "object": created})

    def _renew(self) -> None:
        while True:
            time.sleep(LEASE / 4)
            try:
                try:
                    self.site.call("$site/registry/renew", self.id)
                except SiteError as error:
                    if error.status not in (404, 409):
                        raise
                    self._register()  # The lease ran out: begin again.
            except SiteError as error:
                print(f"renewing: {error}", flush=True)
