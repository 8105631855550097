"""The formats of descriptions, and which one an ``Accept`` asks for (RFC 9110 section 12.5.1)."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from registry.media_types import ranges, weight
from registry.renderings.asyncapi import render_asyncapi
from registry.renderings.openapi import render_openapi
from registry.renderings.page import render_html
from registry.renderings.rdf import render_rdfxml, render_turtle
from registry.renderings.shown import Shown
from registry.renderings.td import render_td
from registry.renderings.text import render_text


class Format(NamedTuple):
    """A format: its short name, its media types (the first is the usual one), how it is made."""

    name: str
    types: tuple[str, ...]
    render: Callable[[Shown], bytes]
    charset: bool = False

    def content_type(self, asked: str) -> bytes:
        """Return the content type of an answer to who asked for a media type of this format."""
        return f"{asked}{'; charset=utf-8' if self.charset else ''}".encode()


def _json(shown: Shown) -> bytes:
    return msgspec.json.format(msgspec.json.encode(shown.described), indent=2) + b"\n"


def _text(shown: Shown) -> bytes:
    return render_text(shown.described).encode("utf-8", "replace")


FORMATS: Final = (
    Format("json", ("application/json",), _json),
    Format("text", ("text/plain",), _text, charset=True),
    Format("html", ("text/html",), render_html, charset=True),
    Format("td", ("application/td+json", "application/ld+json"), render_td),
    Format("turtle", ("text/turtle",), render_turtle, charset=True),
    Format("rdfxml", ("application/rdf+xml",), render_rdfxml),
    Format(
        "openapi", ("application/vnd.oai.openapi+json", "application/openapi+json"), render_openapi
    ),
    Format("asyncapi", ("application/vnd.aai.asyncapi+json",), render_asyncapi),
)
"""In the order of preference where a reader has none: the first is for who says nothing."""
TYPES: Final = tuple(media_type for each in FORMATS for media_type in each.types)
NAMES: Final = tuple(each.name for each in FORMATS)

# CoAP's CBOR is our JSON, translated at the edge.
_CBOR: Final = "application/cbor"


class Choice(NamedTuple):
    """A format, and the media type that its reader knows it by."""

    format: Format
    media_type: str


def named(word: str) -> Choice | None:
    """Return the format of a short name or a media type, None when there is no such format."""
    word = word.partition(";")[0].strip().lower()
    for each in FORMATS:
        if word == each.name or word in each.types:
            return Choice(each, word if word in each.types else each.types[0])
    return None


def negotiated(accept: str) -> Choice | None:
    """Return what suits an ``Accept`` best, None when nothing of ours is acceptable.

    Of equal weights the range that says more wins, then our order. A field in which no range can
    be read is as if it were not there.
    """
    wanted = ranges(accept)
    if not wanted:
        return Choice(FORMATS[0], FORMATS[0].types[0])
    best: tuple[float, int] = (0.0, 0)
    choice = None
    for each in FORMATS:
        for media_type in each.types:
            found = weight(media_type, wanted)
            if found[0] and found > best:
                best, choice = found, Choice(each, media_type)
    if choice is None and wanted.get(_CBOR):
        return Choice(FORMATS[0], FORMATS[0].types[0])
    return choice
