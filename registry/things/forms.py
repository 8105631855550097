"""Forms that lead to members through this site, and how one authenticates there (TD 1.1). Pure."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from registry.names import Name

Form = dict[str, Any]

SECURITY: Final = {
    "bearer_sc": {"scheme": "bearer", "in": "header"},
    "basic_sc": {"scheme": "basic", "in": "header"},
    "psk_sc": {"scheme": "psk"},
    "auto_sc": {"scheme": "auto"},
    "nosec_sc": {"scheme": "nosec"},
}
"""A token of the site over HTTP and WebSocket; a user and its token or secret over MQTT; a key over
DTLS; OSCORE, which TD 1.1 has no scheme for; nothing where a listener lets anybody in."""


class Bases(NamedTuple):
    """The public URLs of this site's listeners, without a slash at the end; "" is not served.

    ``anonymous`` names the protocols whose listeners let clients in without a credential.
    """

    http: str = ""
    ws: str = ""
    mqtt: str = ""
    coap: str = ""
    anonymous: tuple[str, ...] = ()

    def scheme(self, protocol: str) -> str:
        """Return the security definition of a protocol's forms."""
        if protocol in self.anonymous:
            return "nosec_sc"
        if protocol == "mqtt":
            return "basic_sc"
        if protocol == "coap":
            return "psk_sc" if self.coap.startswith("coaps") else "auto_sc"
        return "bearer_sc"


class Way(NamedTuple):
    """How an operation is done with a member: over HTTP and CoAP by a verb, over MQTT a packet.

    ``packet`` is "" where MQTT cannot do it, ``streams`` says that it goes on.
    """

    ops: tuple[str, ...]
    verb: str
    packet: str
    streams: bool = False
    socket: str = "call"


INVOKE: Final = Way(("invokeaction",), "POST", "publish")
READ: Final = Way(("readproperty",), "GET", "")
LAST: Final = Way(("readproperty",), "GET", "subscribe")
"""A channel's last value: over MQTT it is the retained message."""
WRITE: Final = Way(("writeproperty",), "POST", "publish")
PUBLISH: Final = Way(("writeproperty",), "POST", "publish", socket="publish")
OBSERVE: Final = Way(
    ("observeproperty", "unobserveproperty"), "GET", "subscribe", streams=True, socket="subscribe"
)
SUBSCRIBE: Final = Way(
    ("subscribeevent", "unsubscribeevent"), "GET", "subscribe", streams=True, socket="subscribe"
)


def forms_of(
    name: Name, way: Way, bases: Bases, *, content_type: str = "", query: str = ""
) -> list[Form]:
    """Return a form for each protocol; ``query`` is the template of variables, ``{?a,b}``."""
    return [
        _finished(form, protocol, way, bases, content_type)
        for protocol, form in _forms(name, way, bases, query)
    ]


def _finished(form: Form, protocol: str, way: Way, bases: Bases, content_type: str) -> Form:
    form["op"] = way.ops[0] if len(way.ops) == 1 else list(way.ops)
    if content_type:
        form["contentType"] = content_type
    form["security"] = [bases.scheme(protocol)]
    return form


def _forms(name: Name, way: Way, bases: Bases, query: str) -> Iterator[tuple[str, Form]]:
    path = name.partition("/")[2]
    if bases.http:
        form: Form = {"href": f"{bases.http}/{path}{query}", "htv:methodName": way.verb}
        if way.streams:
            form["subprotocol"] = "sse"
        yield "http", form
    if bases.coap:
        form = {"href": f"{bases.coap}/{path}{query}", "cov:method": way.verb}
        if way.streams:
            form["subprotocol"] = "cov:observe"
        yield "coap", form
    if bases.mqtt and way.packet and not query:
        # Clients read the topic from the path or from the term: both say it.
        key = "mqv:filter" if way.packet == "subscribe" else "mqv:topic"
        packet = way.packet
        yield "mqtt", {"href": f"{bases.mqtt}/{path}", key: path, "mqv:controlPacket": packet}
    if bases.ws and not query:
        socket = {"subprotocol": "hilum", "hilum:op": way.socket, "hilum:name": name}
        yield "ws", {"href": f"{bases.ws}/$site/socket", **socket}
