"""A description as a W3C Thing Description; several objects are a collection (Discovery 7.3)."""

from typing import Final

import msgspec

from registry.renderings.shown import Shown
from registry.things.view import view_of

_CONTEXT: Final = "https://www.w3.org/2022/wot/discovery"


def render_td(shown: Shown) -> bytes:
    """Render the objects with the forms of this site."""
    views = [view_of(each.name, each.obj, each.record, shown.bases) for each in shown.parts]
    if len(views) == 1 and "microservice" not in shown.described:
        return _json(views[0])
    collection = {"@context": _CONTEXT, "@type": "ThingCollection"}
    return _json({**collection, "total": len(views), "members": views})


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
