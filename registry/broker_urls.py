"""URLs of topics on a broker: ``mqtt://host:port/topic?qos=1&reply=none``. Pure.

The path without its first ``/`` is the topic; its levels are percent-decoded.
"""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from registry.urls import InvalidUrl, Url, parse_url

BROKER: Final = ("mqtt", "mqtts")
"""The schemes of a broker."""
MAX_TOPIC: Final = 65_535
"""Bytes of a topic (MQTT 5.0 section 1.5.4)."""


class BrokerUrl(NamedTuple):
    """A topic on a broker; ``qos`` is what it is published or subscribed with.

    ``reply`` says whether a call waits for a message on its Response Topic, or only for the
    broker's acknowledgement.
    """

    url: Url
    topic: str
    qos: int
    reply: bool


def parse_broker_url(text: str, *, source: bool = False) -> BrokerUrl:
    """Parse the URL of a topic to call, or of a channel's ``source``. Raises InvalidUrl."""
    url = parse_url(text, schemes=BROKER)
    settings: dict[str, str] = {}
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name in settings:
            raise InvalidUrl(f"{name} is said twice")
        settings[name] = value
    most = 1 if source else 2
    qos = settings.pop("qos", "1")
    if qos not in ("0", "1", "2")[: most + 1]:
        raise InvalidUrl(f"qos is {qos!r}: use a number from 0 to {most}")
    reply = "wait" if source else settings.pop("reply", "wait")
    if reply not in ("wait", "none"):
        raise InvalidUrl(f"reply is {reply!r}: write reply=none, or nothing to wait for a reply")
    if settings:
        known = "qos" if source else "qos and reply"
        raise InvalidUrl(f"{next(iter(settings))!r} is no setting of a topic: there is {known}")
    return BrokerUrl(url, _topic(url.path), int(qos), reply == "wait")


def _topic(path: str) -> str:
    """Return the topic of a path (MQTT 5.0 section 4.7)."""
    try:
        topic = "/".join(unquote(level, errors="strict") for level in path[1:].split("/"))
        size = len(topic.encode())
    except UnicodeDecodeError:
        raise InvalidUrl("the topic is not UTF-8") from None
    if not topic:
        raise InvalidUrl("the topic is missing: write mqtt://host:port/topic")
    if size > MAX_TOPIC or "\0" in topic:
        raise InvalidUrl("the topic is too long or holds a null character")
    if "+" in topic or "#" in topic or topic.startswith("$share/"):
        raise InvalidUrl("the topic must be one topic: wildcards and $share/ are not supported")
    return topic
