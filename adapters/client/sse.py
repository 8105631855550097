"""Reading server-sent events (WHATWG HTML, section 9.2.6), with limits."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

MAX_LINE = 4 * 1024 * 1024
"""Characters of one line and of one event: room for the largest message in its JSON form."""


class ServerEvent(NamedTuple):
    """One event; ``kind`` is ``message`` unless the stream names another."""

    id: str
    kind: str
    data: str


class StreamTooLarge(OSError):
    """A line or an event of the stream is longer than any that a gateway sends."""


class EventReader:
    """Turns the bytes of a stream into events, however they are cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""
        self._begun = False
        self._id = ""
        self._kind = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerEvent]:
        """Take some bytes and yield the events that they complete; raises StreamTooLarge."""
        text = self._rest + self._decoder.decode(data)
        if not self._begun and text:
            text, self._begun = text.removeprefix("\ufeff"), True
        # A CR at the end may be half of a CRLF.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _lines(text[: len(text) - len(held)])
        self._rest = rest + held
        if len(self._rest) > MAX_LINE:
            raise StreamTooLarge(f"a line has more than {MAX_LINE} characters")
        for line in lines:
            if line:
                self._field(line)
            else:
                yield from self._dispatch()

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > MAX_LINE:
                raise StreamTooLarge(f"an event has more than {MAX_LINE} characters")
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Iterator[ServerEvent]:
        if self._data:
            yield ServerEvent(self._id, self._kind or "message", "\n".join(self._data))
        self._kind = ""
        self._data = []
        self._size = 0


def _lines(text: str) -> list[str]:
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
