"""Where the forms of a description lead, as endpoints and sources of ours.

The defaults are those of TD 1.1 section 8.3.1 and of the binding templates for HTTP, CoAP and MQTT.
"""

import re
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, unquote

from registry.broker_urls import BROKER, parse_broker_url
from registry.checks import COAP_METHODS, HTTP_METHODS, SOURCES
from registry.model import ArgumentPlace, Endpoint
from registry.names import Name
from registry.things import addresses
from registry.things.contexts import TD_PREFIXES, Vocabulary
from registry.urls import PORTS, WEB, InvalidUrl, Url, parse_url, placeholders

Node = dict[str, Any]

MAX_SECRET: Final = 64
"""Characters of the name of a secret: letters, digits, ``_`` and ``-``."""

_VERBS: Final = {"readproperty": "GET", "writeproperty": "PUT", "invokeaction": "POST"}
_COAP: Final = ("coap", "coap+tcp")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")


class Unreachable(ValueError):
    """A form that this site cannot use; the text says why."""


class Upstream:
    """Turns the forms of one description into endpoints and sources."""

    def __init__(self, data: Node, vocabulary: Vocabulary, name: Name) -> None:
        self._base = data.get("base", "")
        self._definitions = data["securityDefinitions"]
        self._security = data["security"]
        self._vocabulary = vocabulary
        self._name = name

    def endpoint(
        self, form: Node, op: str, *, answers: bool = False, plain: bool = False
    ) -> Endpoint:
        """Return the endpoint of a form; raises Unreachable.

        ``answers`` says whether a call over MQTT waits for a reply, ``plain`` that what is sent
        is no object: then it passes as it is, and there is no room for variables.
        """
        parts, href = self._resolved(form)
        scheme = addresses.scheme_of(href)
        security = self._credential(form)
        if scheme in WEB:
            verb = self._verb(form, "htv", op, HTTP_METHODS)
            url = _parsed(href, template=True)
            args: dict[str, ArgumentPlace] = dict.fromkeys(placeholders(url.path), "path")
            args.update(dict.fromkeys((*placeholders(url.query), *parts.query), "query"))
            if plain and parts.places:
                raise Unreachable("variables that it needs, and a payload that is no object")
            return Endpoint(href, verb, {} if plain else args, security=security)
        if parts.places:
            raise Unreachable(f"a {scheme} address with variables in its path")
        if scheme in _COAP:
            verb = self._verb(form, "cov", op, COAP_METHODS)
            _parsed(href)
            is_cbor = form.get("contentType", "").partition(";")[0].strip() == "application/cbor"
            return Endpoint(href, verb, encoding="cbor" if is_cbor else "", security=security)
        if scheme in BROKER:
            said = self._topic(form, href, "publish")
            qos = self._binding(form, "mqv").get("qos")
            settings = [f"qos={qos}"] if str(qos) in ("0", "1", "2") else []
            settings += [] if answers else ["reply=none"]
            address = said + ("?" + "&".join(settings) if settings else "")
            _parsed_topic(address, source=False)
            return Endpoint(address, security=security)
        raise Unreachable(f"the scheme {scheme!r} is none that this site calls")

    def is_topic(self, form: Node) -> bool:
        """Return whether a form leads to a topic of a broker."""
        return addresses.scheme_of(self._resolved(form)[1]) in BROKER

    def source(self, form: Node) -> str:
        """Return the URL whose events a form gives; raises Unreachable."""
        parts, href = self._resolved(form)
        scheme = addresses.scheme_of(href)
        if scheme not in SOURCES:
            raise Unreachable(f"the scheme {scheme!r} is none that this site observes")
        if parts.places:
            raise Unreachable(f"a {scheme} address with variables in its path")
        if scheme in BROKER:
            url = self._topic(form, href, "subscribe")
            _parsed_topic(url, source=True)
            return url
        _parsed(href)
        return href

    def _resolved(self, form: Node) -> tuple[addresses.Template, str]:
        parts = addresses.template(form["href"])
        href = addresses.resolve(self._base, parts.href) or parts.href
        return parts, addresses.ascii_uri(href)

    def _binding(self, form: Node, prefix: str) -> Node:
        """Return the terms of a binding's vocabulary; drafts have bound its prefix to others."""
        said = self._vocabulary.meanings(form, TD_PREFIXES[prefix])
        start = prefix + ":"
        said.update((k[len(start) :], v) for k, v in form.items() if k.startswith(start))
        return said

    def _verb(self, form: Node, prefix: str, op: str, known: tuple[str, ...]) -> str:
        said = self._binding(form, prefix)
        verb = said.get("methodName", said.get("method", _VERBS[op]))
        if verb not in known:
            raise Unreachable(f"the method {str(verb)[:40]!r} is none that this site sends")
        return str(verb)

    def _topic(self, form: Node, href: str, packet: str) -> str:
        """Return the URL of a topic: ``mqv:topic``, ``mqv:filter``, or the path says which."""
        said = self._binding(form, "mqv")
        asked = str(said.get("controlPacket", packet)).rpartition(":")[2]
        if asked != packet:
            raise Unreachable(f"the packet {asked[:40]!r} where {packet!r} is needed")
        keys = ("topic", "filter") if packet == "publish" else ("filter", "topic")
        topic = next((said[key] for key in keys if isinstance(said.get(key), str)), None)
        if topic is None:
            topic = unquote(addresses.path_of(href).removeprefix("/"))
        authority = addresses.authority_of(href)
        return f"{addresses.scheme_of(href)}://{authority}/{quote(topic, safe='/')}"

    def _credential(self, form: Node) -> str:
        """Return the name of the secret that a form needs, "" if none."""
        for word in _words(form.get("security", self._security)):
            for name in self._parts_of(word):
                if self._definitions.get(name, {}).get("scheme") not in ("nosec", "auto", None):
                    return f"{self._name}#{_OTHER.sub('_', name)[:MAX_SECRET]}"
        return ""

    def _parts_of(self, name: str) -> Iterator[str]:
        """Return the schemes that a combo consists of, or the one scheme itself."""
        scheme = self._definitions.get(name, {})
        if scheme.get("scheme") != "combo":
            yield name
            return
        yield from (each for key in ("allOf", "oneOf") for each in scheme.get(key, ()))


def operations(form: Node, kind: str, node: Node) -> list[str]:
    """Return the operations of a form, the default ones where it says none (section 8.3.1)."""
    if "op" in form:
        found = _words(form["op"])
    elif kind == "properties":
        found = ["readproperty", "writeproperty"]
    else:
        found = ["invokeaction"] if kind == "actions" else ["subscribeevent"]
    left_out = set()
    if node.get("readOnly") is True:
        left_out.add("writeproperty")
    if node.get("writeOnly") is True:
        left_out.add("readproperty")
    return [op for op in found if op not in left_out]


def _words(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _parsed(url: str, *, template: bool = False) -> Url:
    try:
        return parse_url(url, template=template, schemes=PORTS)
    except InvalidUrl as error:
        raise Unreachable(str(error)) from None


def _parsed_topic(url: str, *, source: bool) -> None:
    try:
        parse_broker_url(url, source=source)
    except InvalidUrl as error:
        raise Unreachable(str(error)) from None
