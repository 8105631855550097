"""Descriptions to submit, and a client of the directory API."""

import contextlib
import http.client
import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from adapters.client.sse import EventReader, ServerEvent
from tests.running import Gateway, HttpReply

TD_1_1 = "https://www.w3.org/2022/wot/td/v1.1"
DISCOVERY = "https://www.w3.org/2022/wot/discovery"
TD = "application/td+json"
PATCH = "application/merge-patch+json"


def new_id() -> str:
    return f"urn:example:{uuid.uuid4().hex}"


def thing(id_: str = "", base: str = "http://127.0.0.1:9", **more: Any) -> dict[str, Any]:
    """A lamp with one affordance of each kind."""
    return {
        "@context": TD_1_1,
        **({"id": id_} if id_ else {}),
        "title": "Lamp",
        "base": base,
        "securityDefinitions": {"nosec_sc": {"scheme": "nosec"}},
        "security": "nosec_sc",
        "properties": {
            "status": {"type": "string", "readOnly": True, "forms": [{"href": "/status"}]}
        },
        "actions": {"toggle": {"forms": [{"href": "/toggle"}]}},
        "events": {
            "overheating": {
                "data": {"type": "string"},
                "forms": [{"href": "/oh", "op": "subscribeevent"}],
            }
        },
        **more,
    }


class DirectoryClient:
    """Speaks the directory API of a site, by its control listener."""

    def __init__(self, site: Gateway, token: str | None = None) -> None:
        self.site = site
        self.token = token

    def ask(
        self, verb: str, path: str, body: Any = None, kind: str = TD, **fields: str
    ) -> HttpReply:
        if body is not None:
            fields["content_type"] = kind
            body = body if isinstance(body, str | bytes) else json.dumps(body)
        return self.site.http(verb, path, body, token=self.token, control=True, **fields)

    def put(self, document: dict[str, Any], **fields: str) -> HttpReply:
        return self.ask("PUT", path_of(document["id"]), document, **fields)

    def get(self, id_: str, query: str = "", **fields: str) -> HttpReply:
        return self.ask("GET", path_of(id_) + query, **fields)

    def made(self, **more: Any) -> str:
        """Register a description of its own and return its id."""
        id_ = new_id()
        reply = self.put(thing(id_, **more))
        assert reply.status == 201, reply.body
        return id_

    @contextlib.contextmanager
    def events(self, path: str = "/events", after: str = "") -> Iterator["Events"]:
        netloc = urlsplit(self.site.control).netloc
        connection = http.client.HTTPConnection(netloc, timeout=10)
        token = self.site.token if self.token is None else self.token
        fields = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        if after:
            fields["last-event-id"] = after
        connection.request("GET", path, headers=fields)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        try:
            yield Events(response)
        finally:
            response.close()
            connection.close()


class Events:
    """An open stream of events."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response = response
        self._reader = EventReader()
        self._waiting: list[ServerEvent] = []

    def next(self, id_: str = "") -> ServerEvent:
        """Return the next event; with an id, the next that tells of it."""
        while True:
            while not self._waiting:
                part = self.response.read1(65536)
                assert part, "the stream ended"
                self._waiting += self._reader.feed(part)
            event = self._waiting.pop(0)
            if not id_ or id_ in event.data:
                return event


def path_of(id_: str) -> str:
    return f"/things/{quote(id_, safe='')}"
