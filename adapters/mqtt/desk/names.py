"""Topics are names: which name a topic spells, and how a name is spelled for a filter (design 6).

Topics that begin with ``$rpc``, ``$reply``, ``$call`` or ``$ret`` belong to calls, not to names;
the client part of the first two is the client's own id, whatever characters that has.
"""

from collections.abc import Container
from typing import NamedTuple

from adapters.mqtt.wire.topics import has_wildcard
from registry.names import Name, Pattern, parse_name

CACHED = 8 * 1024 * 1024
"""Bytes of the topics whose names are remembered."""
RPC, REPLY, CALL, RET = "$rpc/", "$reply/", "$call/", "$ret/"
_ENTRY = 200
"""Bytes of what is remembered beside a topic."""


class Names:
    """Reads topics as a site's names; what was read is remembered."""

    def __init__(
        self, authority: str, aliases: Container[str] = (), remotes: Container[str] = ()
    ) -> None:
        self.authority = authority
        self._aliases = aliases
        self._remotes = remotes
        self._known: dict[str, Name] = {}
        self._bytes = 0

    def name_of(self, topic: str) -> Name:
        """Return the name that a topic spells; raises InvalidName."""
        name = self._known.get(topic)
        if name is None:
            name = parse_name(
                topic,
                authority=self.authority,
                aliases=self._aliases,
                remotes=self._remotes,
                reserved=True,
            )
            self._remember(topic, name)
        return name

    def wild(self, filter_: str) -> "Wild":
        """Read a filter with wildcards; raises InvalidName."""
        pattern = Pattern.from_mqtt(
            filter_, authority=self.authority, aliases=self._aliases, remotes=self._remotes
        )
        levels = filter_.split("/")
        # The last levels are the pattern's segments, one by one; before them may stand nothing
        # (a leading slash), an authority, or a URN's beginning.
        start = len(levels) - pattern.text.count("/")
        return Wild(pattern, tuple(levels[:start]), tuple(levels[start:]))

    def _remember(self, topic: str, name: Name) -> None:
        self._bytes += len(topic) + _ENTRY
        if self._bytes > CACHED:
            self._known = {}
            self._bytes = len(topic) + _ENTRY
        self._known[topic] = name


class Wild(NamedTuple):
    """A filter with wildcards."""

    pattern: Pattern
    head: tuple[str, ...]
    levels: tuple[str, ...]

    @property
    def key(self) -> str:
        """The filter over canonical names: what it is indexed by."""
        return self.pattern.text.replace("/**", "/#").replace("/*", "/+")

    def topic(self, name: Name) -> str:
        """Spell a matched name so that the client's own filter matches it too.

        Where the filter is literal it is spelled as in the filter, elsewhere canonically.
        """
        segments = name.split("/")[1:]
        spelled = list(self.head)
        for at, level in enumerate(self.levels):
            if level == "#":
                spelled += segments[at:]
            else:
                spelled.append(segments[at] if level == "+" else level)
        return "/".join(spelled)


class Rpc(NamedTuple):
    """A call without a Response Topic: ``$rpc/<client>/<id>/<name>``."""

    id: str
    name: str


class Ret(NamedTuple):
    """An answer to a call: ``$ret/<name>/<id>`` or ``$ret/<name>/<id>/<status>``."""

    name: str
    id: str
    status: str


def parse_rpc(topic: str, client_id: str) -> Rpc | None:
    """Read a call's topic; None when it is not this client's, or has no id or name."""
    own = f"{RPC}{client_id}/"
    call_id, _, name = topic.removeprefix(own).partition("/")
    return Rpc(call_id, name) if topic.startswith(own) and call_id and name else None


def parse_ret(topic: str) -> Ret | None:
    """Read an answer's topic; None when it has no call id. Ids are numbers, statuses are not."""
    rest, _, last = topic.removeprefix(RET).rpartition("/")
    if _is_id(last):
        return Ret(rest, last, "") if rest else None
    name, _, call_id = rest.rpartition("/")
    return Ret(name, call_id, last) if name and _is_id(call_id) else None


def called(filter_: str) -> str | None:
    """Return the method's name in ``$call/<name>/+`` (or ``#``), None when it is none."""
    name, _, last = filter_.removeprefix(CALL).rpartition("/")
    return name if last in ("+", "#") and name and not has_wildcard(name) else None


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit()
