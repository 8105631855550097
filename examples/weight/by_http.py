"""A site's API in plain HTTP, as most services and the demo use it. Nothing of Hilum is needed."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from examples.weight.common import RETRY, Event, SiteError

BROKEN = (OSError, HTTPException)
SILENCE = 60
"""Seconds without a byte, after which a connection is taken for broken."""


class HttpSite:
    """A gateway as one principal sees it; every thread gets a connection of its own."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._mine = threading.local()

    def call(self, name: str, args: object = None) -> Any:
        """Call a method."""
        return self.request("POST", name, json.dumps({} if args is None else args))

    def publish(self, name: str, event: object) -> str:
        """Publish to a channel, and return the event's id."""
        return str(self.call(name, event)["id"])

    def get(self, name: str) -> Any:
        """Call a safe method, or read a channel's last value."""
        return self.request("GET", name)

    def events(self, name: str, after: str = "oldest") -> Iterator[Event]:
        """Yield a channel's events for ever: those that are kept, then live ones, across breaks."""
        while True:
            fields = {"Accept": "text/event-stream", "Last-Event-ID": after}
            with closing(self._connect()) as link:
                try:
                    reply = self._send(link, "GET", name, None, fields)
                    for event in parse_events(reply) if reply.status == 200 else ():
                        after = event.id
                        yield event
                except BROKEN:
                    pass  # The next connection goes on after the last event.
            time.sleep(RETRY)

    def request(
        self, verb: str, name: str, body: str | None = None, kind: str = "application/json"
    ) -> Any:
        """Send any request, and return what its JSON answer holds; raises SiteError."""
        link = self._mine.__dict__.setdefault("link", self._connect())
        try:
            reply = self._send(link, verb, name, body, {"Content-Type": kind} if body else {})
            document = json.loads(reply.read() or b"null")
        except (*BROKEN, ValueError) as error:
            link.close()  # The next request opens it again.
            raise SiteError(0, f"{self.url}: {type(error).__name__}: {error}") from error
        if reply.status >= 300:
            raise SiteError(reply.status, document["detail"])
        return document

    def _connect(self) -> HTTPConnection:
        return HTTPConnection(urlsplit(self.url).netloc, timeout=SILENCE)

    def _send(
        self, link: HTTPConnection, verb: str, name: str, body: str | None, fields: dict[str, str]
    ) -> HTTPResponse:
        fields["Authorization"] = f"Bearer {self._token}"
        link.request(verb, f"/{name}", body, fields)
        return link.getresponse()


def parse_events(lines: Iterable[bytes]) -> Iterator[Event]:
    """Read server-sent events; what is not called a message (a gap, a comment) is left out."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().strip().partition(":")
        if line.strip():
            fields[name] = fields.get(name, "") + value.strip()
        else:
            if "data" in fields and fields.get("event", "message") == "message":
                yield Event(fields["id"], json.loads(fields["data"]))
            fields.clear()
