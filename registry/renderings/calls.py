"""How to reach a member from a shell: curl, mosquitto's clients, libcoap's ``coap-client``."""

from shlex import quote
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from registry.describe import Description
from registry.renderings.samples import sample
from registry.renderings.shown import legible, path_of
from registry.things.view import Bases

_HEADER: Final = '-H "Authorization: Bearer $TOKEN" '


class Example(NamedTuple):
    """A command: the protocol, what it does, and the line for a POSIX shell."""

    protocol: str
    does: str
    line: str


def calls_of(method: Description, bases: Bases) -> list[Example]:
    """Return how to call a method over each protocol that the site serves."""
    path = path_of(method["name"])
    payload = _payload(method["input"])
    found = []
    if bases.http:
        body = f" --json {payload}" if payload else "" if method["safe"] else " -X POST"
        found.append(
            Example("HTTP", "call", f"curl {_header(bases)}{_url(bases.http, path)}{body}")
        )
    if bases.mqtt:
        message = f"-m {payload}" if payload else "-n"
        line = f"mosquitto_rr {_broker(bases)} -i me -t {_quoted(path)} -e '$reply/me' {message}"
        found.append(Example("MQTT 5", "call", line))
    if bases.coap:
        given = f"-m post -t 50 -e {payload} " if payload else "" if method["safe"] else "-m post "
        found.append(Example("CoAP", "call", f"{_coap(bases)} {given}{_url(bases.coap, path)}"))
    return found


def events_of(channel: Description, bases: Bases) -> list[Example]:
    """Return how to subscribe and to publish over each protocol that the site serves."""
    path = path_of(channel["name"])
    payload = _payload(channel["schema"]) or "'{}'"
    may = channel.get("may", ("subscribe", "publish"))
    found = []
    if bases.http:
        url, header = _url(bases.http, path), _header(bases)
        stream = f"curl -N {header}-H 'Accept: text/event-stream' {url}"
        found.append(Example("HTTP", "subscribe", stream))
        found.append(Example("HTTP", "publish", f"curl {header}{url} --json {payload}"))
    if bases.mqtt:
        topic = f"-t {_quoted(path)}"
        found.append(Example("MQTT", "subscribe", f"mosquitto_sub {_broker(bases)} {topic}"))
        line = f"mosquitto_pub {_broker(bases)} -q 1 {topic} -m {payload}"
        found.append(Example("MQTT", "publish", line))
    if bases.coap:
        url, client = _url(bases.coap, path), _coap(bases)
        found.append(Example("CoAP", "subscribe", f"{client} -s 60 {url}"))
        found.append(Example("CoAP", "publish", f"{client} -m put -t 50 -e {payload} {url}"))
    # Who may do neither still sees how it is done.
    return [each for each in found if not may or each.does in may]


def _payload(schema: dict[str, Any] | None) -> str:
    if schema is None:
        return ""
    return _quoted(msgspec.json.encode(sample(schema)).decode())


def _quoted(text: str) -> str:
    return quote(legible(text))


def _url(base: str, path: str) -> str:
    return _quoted(f"{base}/{path}")


def _header(bases: Bases) -> str:
    return "" if "http" in bases.anonymous else _HEADER


def _broker(bases: Bases) -> str:
    parts = urlsplit(bases.mqtt)
    secure = parts.scheme == "mqtts"
    port = parts.port or (8883 if secure else 1883)
    tls = " --tls-use-os-certs" if secure else ""
    user = "" if "mqtt" in bases.anonymous else ' -u "$USER" -P "$TOKEN"'
    return f"-V mqttv5 -h {_quoted(parts.hostname or '')} -p {port}{tls}{user}"


def _coap(bases: Bases) -> str:
    if not bases.coap.startswith("coaps"):
        return "coap-client-notls"
    return 'coap-client-openssl -u "$IDENTITY" -k "$KEY"'
