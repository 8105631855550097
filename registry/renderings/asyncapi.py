"""The channels of a description as AsyncAPI 3.0: MQTT, events over HTTP, WebSocket.

The document describes the site: it sends what subscribers get, and receives what is published.
"""

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from registry.describe import Description
from registry.renderings.samples import sample
from registry.renderings.schemas import Components, Ids
from registry.renderings.shown import BEARER, Shown, legible, path_of

_SOCKET: Final = "$site/socket"
_MQTT: Final = "0.2.0"
_HTTP: Final = "0.3.0"
_WEBSOCKET: Final = "0.1.0"
"""Versions of AsyncAPI's bindings."""
_FRAME: Final = {
    "type": "object",
    "required": ["op"],
    "properties": {
        "op": {"enum": ["auth", "subscribe", "unsubscribe", "publish", "event", "reply"]},
        "id": {"type": ["string", "integer"]},
        "name": {"type": "string", "description": "The channel, such as Scale/weights."},
        "payload": {"description": "The event."},
    },
}

Node = dict[str, Any]


def render_asyncapi(shown: Shown) -> bytes:
    """Render the channels; methods are what OpenAPI describes."""
    return msgspec.json.format(msgspec.json.encode(asyncapi(shown))) + b"\n"


def asyncapi(shown: Shown) -> Node:
    """Return the document as data."""
    document = _Document(shown)
    for obj in shown.objects:
        for channel in obj["channels"].values():
            document.add(channel, path_of(obj["name"]))
    return document.finished()


class _Document:
    """A document that grows by channels."""

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        self._ids = Ids()
        self._components = Components()
        self._channels: Node = {}
        self._operations: Node = {}
        self._messages: Node = {}
        self._servers = _servers(shown)
        self._reaching = [
            {"$ref": f"#/servers/{key}"} for key in ("mqtt", "http") if key in self._servers
        ]

    def add(self, channel: Description, tag: str) -> None:
        """Add a channel, its message and what can be done with it."""
        path = path_of(channel["name"])
        key = self._ids.of(path.replace("/", "."))
        self._messages[key] = self._message(channel, key)
        more = {word: channel[word] for word in ("types", "profile", "may") if word in channel}
        self._channels[key] = {
            "address": path,
            "title": legible(channel["name"]),
            **_described(channel["description"]),
            "messages": {"event": {"$ref": f"#/components/messages/{key}"}},
            **({"servers": self._reaching} if self._reaching else {}),
            "tags": [{"name": legible(tag)}],
            **({"x-hilum": more} if more else {}),
        }
        self._operations[f"{key}.subscribe"] = _operation(key, "send", "GET")
        self._operations[f"{key}.publish"] = _operation(key, "receive", "POST")

    def finished(self) -> Node:
        """Return the document."""
        shown = self._shown
        if "websocket" in self._servers and self._channels:
            self._add_socket()
        return {
            "asyncapi": "3.0.0",
            "info": {
                "title": legible(shown.title),
                "version": legible(shown.version),
                **_described(shown.summary),
            },
            "defaultContentType": "application/json",
            "servers": self._servers,
            "channels": self._channels,
            "operations": self._operations,
            "components": {
                "schemas": self._components.schemas,
                "messages": self._messages,
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": BEARER},
                    "user": {
                        "type": "userPassword",
                        "description": "The user is the principal's name, the password its token.",
                    },
                },
            },
        }

    def _message(self, channel: Description, key: str) -> Node:
        schema = channel["schema"]
        if schema is None:
            return {"name": key, "title": "An event", "payload": {}}
        return {
            "name": key,
            "title": "An event",
            "payload": self._components.add(key, schema),
            "examples": [{"payload": sample(schema)}],
        }

    def _add_socket(self) -> None:
        """Add the one WebSocket over which all channels are reached."""
        key = self._ids.of(_SOCKET)
        self._messages[key] = {
            "name": key,
            "title": "A frame: subscribe to, publish to and hear of any channel",
            "payload": self._components.add(key, _FRAME),
            "examples": [{"payload": {"op": "subscribe", "id": 1, "name": "Scale/weights"}}],
        }
        self._channels[key] = {
            "address": f"/{_SOCKET}",
            "title": "All channels over one WebSocket",
            "messages": {"frame": {"$ref": f"#/components/messages/{key}"}},
            "servers": [{"$ref": "#/servers/websocket"}],
            "bindings": {"ws": {"method": "GET", "bindingVersion": _WEBSOCKET}},
        }
        for verb, action in (("hear", "send"), ("say", "receive")):
            self._operations[f"{key}.{verb}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{key}"},
            }


def _operation(key: str, action: str, verb: str) -> Node:
    http: Node = {"method": verb, "bindingVersion": _HTTP}
    summary = "Publish an event."
    if action == "send":
        summary = (
            "Subscribe: over HTTP with Accept: text/event-stream; a plain GET: the last event."
        )
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{key}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{key}/messages/event"}],
        "bindings": {
            "mqtt": {"qos": 1, "retain": False, "bindingVersion": _MQTT},
            "http": http,
        },
    }


def _servers(shown: Shown) -> Node:
    bases = shown.bases
    found: Node = {}
    for key, url, security in (
        ("mqtt", bases.mqtt, "user"),
        ("http", bases.http, "token"),
        ("websocket", bases.ws, "token"),
    ):
        if not url:
            continue
        parts = urlsplit(url)
        version = {"protocolVersion": "5.0"} if key == "mqtt" else {}
        found[key] = {
            "host": parts.netloc,
            "protocol": parts.scheme,
            **version,
            "description": f"The site {shown.authority}",
            "security": [{"$ref": f"#/components/securitySchemes/{security}"}],
        }
        if parts.path:
            found[key]["pathname"] = parts.path
    return found


def _described(text: str) -> Node:
    return {"description": legible(text)} if text else {}
