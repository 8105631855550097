"""The figure of the documentation: what a microservice is made of, as SVG without a script."""

from html import escape
from typing import Final, NamedTuple


class _Box(NamedTuple):
    """A class: its id in the page, where its middle is, how wide it is."""

    id: str
    label: str
    x: int
    y: int
    width: int = 128


class _Arrow(NamedTuple):
    """A property between two points; the label stands beside its middle."""

    id: str
    label: str
    x1: int
    y1: int
    x2: int
    y2: int
    dx: int = 0
    dy: int = -8


_HEIGHT: Final = 40
_BOXES: Final = (
    _Box("DeploymentPlace", "Deployment place", 90, 40, 150),
    _Box("Microservice", "Microservice", 90, 160),
    _Box("VirtualObject", "Virtual object", 340, 160),
    _Box("Place", "Place", 340, 40, 100),
    _Box("Method", "Method", 560, 110),
    _Box("EventChannel", "Event channel", 560, 210),
    _Box("Binding", "Binding", 740, 160, 100),
    _Box("Endpoint", "Endpoint", 740, 40, 100),
    _Box("Category", "Category", 470, 310, 110),
    _Box("Situation", "Situation", 650, 310, 110),
)
_ARROWS: Final = (
    _Arrow("deployment", "deployment", 90, 140, 90, 64, 46, 4),
    _Arrow("offers", "offers", 154, 160, 272, 160),
    _Arrow("place", "place", 340, 140, 340, 64, 24, 4),
    _Arrow("VirtualObject", "has", 404, 152, 492, 118, -8, -6),
    _Arrow("VirtualObject", "has", 404, 168, 492, 202, -8, 16),
    _Arrow("hasBinding", "has binding", 624, 118, 688, 148, 12, -16),
    _Arrow("hasBinding", "has binding", 624, 202, 688, 172, 14, 26),
    _Arrow("toEndpoint", "to endpoint", 740, 140, 740, 64, 46, 4),
    _Arrow("category", "category", 535, 230, 488, 286, -40, 0),
    _Arrow("effect", "precondition, effect", 585, 230, 632, 286, 76, 0),
)


def _box(box: _Box) -> str:
    left, top = box.x - box.width // 2, box.y - _HEIGHT // 2
    return (
        f'<a href="#{box.id}"><rect x="{left}" y="{top}" width="{box.width}" height="{_HEIGHT}" '
        f'rx="8" fill="none" stroke="currentColor" stroke-width="1.5"/>'
        f'<text x="{box.x}" y="{box.y + 5}" text-anchor="middle" font-size="15" '
        f'fill="currentColor">{escape(box.label)}</text></a>'
    )


def _arrow(arrow: _Arrow) -> str:
    x, y = (arrow.x1 + arrow.x2) // 2 + arrow.dx, (arrow.y1 + arrow.y2) // 2 + arrow.dy
    return (
        f'<line x1="{arrow.x1}" y1="{arrow.y1}" x2="{arrow.x2}" y2="{arrow.y2}" '
        'stroke="currentColor" stroke-opacity=".55" marker-end="url(#head)"/>'
        f'<text x="{x}" y="{y}" text-anchor="middle" font-size="12.5" fill="currentColor" '
        f'fill-opacity=".75">{escape(arrow.label)}</text>'
    )


FIGURE: Final = f"""<figure class="object"><svg viewBox="8 12 822 326" width="100%" role="img"
 aria-label="A microservice offers virtual objects, which have methods and event channels.
 Bindings tie those to endpoints. Objects are in places, microservices are deployed somewhere."
 font-family="inherit"><defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"
 markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor" fill-opacity=".7"/>
</marker></defs>{"".join(map(_arrow, _ARROWS))}{"".join(map(_box, _BOXES))}</svg></figure>"""
