"""Topic aliases, one direction each; they live as long as a connection (MQTT 5.0, 3.3.2.3.4)."""

from adapters.mqtt.wire.encoding import text
from adapters.mqtt.wire.packets import Malformed, Publish, Reason

NO_TOPIC = b"\0\0"


class Aliases:
    """What topics stand for towards a client: those that come again, as long as there are any.

    ``maximum`` is the client's Topic Alias Maximum, or less.
    """

    __slots__ = ("_maximum", "_numbers", "_seen")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._numbers: dict[str, int] = {}
        self._seen: set[str] = set()

    def spell(self, topic: str) -> tuple[bytes, int]:
        """Return a topic as it is to be sent, and its alias; 0: none."""
        number = self._numbers.get(topic)
        if number is not None:
            return NO_TOPIC, number
        if len(self._numbers) >= self._maximum:
            return text(topic), 0
        if topic not in self._seen:
            if len(self._seen) >= self._maximum * 4:
                self._seen.clear()
            self._seen.add(topic)
            return text(topic), 0
        self._seen.discard(topic)
        self._numbers[topic] = number = len(self._numbers) + 1
        return text(topic), number

    def undo(self, topic: str) -> None:
        """The packet that ``spell`` was called for last is not sent."""
        if next(reversed(self._numbers), None) == topic:
            del self._numbers[topic]


def resolve(packet: Publish, known: dict[int, str], maximum: int) -> None:
    """Put the topic that a client's alias stands for into its PUBLISH; raises Malformed."""
    alias = packet.properties.alias if packet.properties is not None else 0
    if alias > maximum:  # [MQTT-3.2.2-17]
        raise Malformed(Reason.TOPIC_ALIAS_INVALID, f"topic aliases are at most {maximum}")
    if packet.topic:
        known[alias] = packet.topic
        return
    topic = known.get(alias)
    if topic is None:
        raise Malformed(Reason.PROTOCOL_ERROR, f"nothing has the topic alias {alias}")
    packet.topic = topic
