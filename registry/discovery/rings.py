"""The order of what is found: around a place, ring by ring, then by name. Pure.

In the hierarchy of places the first ring is the place itself, the next one the place that
contains it, and so on; with coordinates each place that has some is a ring.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple

from registry.discovery.postings import PLACE, Key, Object
from registry.terms import compact

Located = Callable[[str], str | None]
"""Returns the nearest place with coordinates that a place is in."""
ELSEWHERE: Final = ""
"""The ring of what is in none of the others."""


class Ring(NamedTuple):
    """Objects that are equally near: those with ``keys``, without those of rings before.

    ``located`` says whether the object is in this ring rather than in one within it.
    """

    id: str
    distance: Mapping[str, float | str] | None = None
    keys: tuple[Key, ...] = ()
    without: tuple[Key, ...] = ()
    located: Callable[[Object], bool] | None = None


EVERYWHERE: Final = (Ring(ELSEWHERE),)
"""Without a place to be near to, all are equally near."""


def around(place: str, parents: Callable[[str], Collection[str]]) -> list[Ring]:
    """Return the rings around a place: by how many steps up both are in one place."""
    rings = []
    seen: dict[str, int] = {place: 0}
    level = [place]
    while level:
        fresh = sorted({up for each in level for up in parents(each)} - seen.keys())
        seen.update(dict.fromkeys(fresh, seen[level[0]] + 1))
        level = fresh
    before: tuple[Key, ...] = ()
    for each, steps in seen.items():
        key = (PLACE, each)
        rings.append(Ring(each, {"steps": steps, "within": compact(each)}, (key,), before))
        before = (*before, key)
    return [*rings, Ring(ELSEWHERE, None, (), before)]


def by_distance(places: Collection[tuple[float, str]], located: Located) -> Iterator[Ring]:
    """Yield the rings of places with coordinates, given in metres, the nearest first."""
    for metres, place in places:
        distance: dict[str, float | str] = {"metres": round(metres), "at": compact(place)}
        yield Ring(place, distance, ((PLACE, place),), (), _at(place, located))
    yield Ring(ELSEWHERE, located=_at(None, located))


def _at(place: str | None, located: Located) -> Callable[[Object], bool]:
    return lambda obj: located(obj.place) == place
