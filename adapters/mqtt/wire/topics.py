"""Topic names, topic filters and their index (MQTT 5.0 sections 4.7 and 4.8.2)."""

import re
from collections.abc import Hashable, Iterator, Sized
from typing import Generic, TypeVar

from adapters.mqtt.wire.fields import utf8
from adapters.mqtt.wire.packets import Malformed, Reason

LEVELS = 128
"""Levels that a topic filter may have: each costs memory in an index."""
FILTERS = 2000
"""Filters that one packet may have: they are read at once, while others wait."""
SHARE = "$share/"
_MISPLACED = re.compile("[^/][+#]|[+#][^/]|#/").search
KNOWN_TOPICS = 4096
KNOWN_BYTES = 256
"""How many topics, of at most how many bytes, are known by their bytes."""

Entry = TypeVar("Entry", bound=Hashable)

KNOWN: dict[bytes, str] = {}
"""Topics that were found valid: the same ones come again and again."""


def topic_of(raw: bytes) -> str:
    """Return the topic name that a packet carries; Malformed when it is none."""
    topic = KNOWN.get(raw)
    if topic is None:
        topic = utf8(raw)
        check_topic(topic)
        if len(raw) <= KNOWN_BYTES:
            if len(KNOWN) >= KNOWN_TOPICS:
                KNOWN.clear()
            KNOWN[raw] = topic
    return topic


def check_topic(topic: str) -> None:
    """Refuse an empty topic name [MQTT-4.7.3-1] and wildcards in it [MQTT-3.3.2-2]."""
    if not topic:
        raise Malformed(Reason.TOPIC_NAME_INVALID, "a topic name is empty")
    if "+" in topic or "#" in topic:
        raise Malformed(Reason.TOPIC_NAME_INVALID, "a topic name contains a wildcard")


def check_count(filters: Sized) -> None:
    """Refuse a packet with one filter more than it may have."""
    if len(filters) >= FILTERS:
        raise Malformed(Reason.QUOTA_EXCEEDED, f"a packet has more than {FILTERS} filters")


def check_filter(text: str) -> None:
    """Refuse what is no filter, shared or not [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.8.2-1]."""
    rest = text
    if text == "$share" or text.startswith(SHARE):
        group, _, rest = text[len(SHARE) :].partition("/")
        if not group or "+" in group or "#" in group:
            raise Malformed(Reason.TOPIC_FILTER_INVALID, "a share name is empty or a wildcard")
    if not rest:
        raise Malformed(Reason.TOPIC_FILTER_INVALID, "a topic filter is empty")
    if rest.count("/") >= LEVELS:
        raise Malformed(Reason.TOPIC_FILTER_INVALID, f"a filter has more than {LEVELS} levels")
    if "+" not in rest and "#" not in rest:
        return
    if _MISPLACED(rest):
        raise Malformed(Reason.TOPIC_FILTER_INVALID, "a wildcard is not a level of its own")


def parse_share(text: str) -> tuple[str, str]:
    """Return the group and the filter of a valid filter; the group is "" when it is not shared."""
    if not text.startswith(SHARE):
        return "", text
    group, _, rest = text[len(SHARE) :].partition("/")
    return group, rest


def has_wildcard(text: str) -> bool:
    """Return whether a valid filter matches more than one topic."""
    return "+" in text or "#" in text


class _Node(Generic[Entry]):
    """One level of the filters that begin alike."""

    __slots__ = ("children", "entries")

    def __init__(self) -> None:
        self.children: dict[str, _Node[Entry]] = {}
        self.entries: dict[Entry, None] = {}


class FilterIndex(Generic[Entry]):
    """Topic filters and what hangs on them, found by topic: filters without wildcards by a dict.

    An entry that hangs on several filters is found once per filter that matches.
    """

    __slots__ = ("_exact", "_root")

    def __init__(self) -> None:
        self._exact: dict[str, dict[Entry, None]] = {}
        self._root: _Node[Entry] = _Node()

    def add(self, text: str, entry: Entry) -> None:
        """Hang an entry on a filter."""
        if not has_wildcard(text):
            self._exact.setdefault(text, {})[entry] = None
            return
        node = self._root
        for level in text.split("/"):
            child = node.children.get(level)
            if child is None:
                child = node.children[level] = _Node()
            node = child
        node.entries[entry] = None

    def discard(self, text: str, entry: Entry) -> None:
        """Take an entry off a filter, if it hangs there."""
        if not has_wildcard(text):
            found = self._exact.get(text)
            if found is not None:
                found.pop(entry, None)
                if not found:
                    del self._exact[text]
            return
        path: list[tuple[_Node[Entry], str]] = []
        node = self._root
        for level in text.split("/"):
            child = node.children.get(level)
            if child is None:
                return
            path.append((node, level))
            node = child
        node.entries.pop(entry, None)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.entries or child.children:
                return
            del parent.children[level]

    def match(self, topic: str) -> list[Entry]:
        """Return what hangs on the filters that match a topic name."""
        found = list(self._exact.get(topic, ()))
        if self._root.children:
            found.extend(self._wild(topic))
        return found

    def _wild(self, topic: str) -> Iterator[Entry]:
        nodes = [self._root]
        reserved = topic[0] == "$"
        for level in topic.split("/"):
            below = []
            for node in nodes:
                children = node.children
                child = children.get(level)
                if child is not None:
                    below.append(child)
                if reserved:
                    continue
                child = children.get("+")
                if child is not None:
                    below.append(child)
                child = children.get("#")
                if child is not None:
                    yield from child.entries
            reserved = False
            nodes = below
            if not nodes:
                return
        for node in nodes:
            yield from node.entries
            child = node.children.get("#")
            if child is not None:
                yield from child.entries
