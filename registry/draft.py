"""A catalog beside another, to check Changes against those that are on their way. Pure."""

from collections.abc import Iterator, MutableMapping
from typing import Generic, TypeVar

from registry.catalog import Catalog

K = TypeVar("K")
V = TypeVar("V")


class Draft(Catalog):
    """A catalog beside another: reads fall through, writes stay here.

    Changes that were appended but not yet committed are applied to a draft, so that the next one
    is checked against them (design 5: the pending tail).
    """

    def __init__(self, base: Catalog) -> None:
        super().__init__()
        self.names = _Overlay(base.names)
        self.registrations = _Overlay(base.registrations)
        self.things = _Overlay(base.things)
        self.thing_of = _Overlay(base.thing_of)
        self.ontologies = _Overlay(base.ontologies)
        self.policies = _Overlay(base.policies)
        self.tokens = _Overlay(base.tokens)
        self.credentials = _Overlay(base.credentials)
        self.revoked = _Overlay(base.revoked)
        self.generation = base.generation


class _Overlay(MutableMapping[K, V], Generic[K, V]):
    """A mapping over another that is never written."""

    def __init__(self, base: MutableMapping[K, V]) -> None:
        self._base = base
        self._own: dict[K, V] = {}
        self._gone: set[K] = set()

    def __getitem__(self, key: K) -> V:
        if key in self._own:
            return self._own[key]
        if key in self._gone:
            raise KeyError(key)
        return self._base[key]

    def __setitem__(self, key: K, value: V) -> None:
        self._own[key] = value
        self._gone.discard(key)

    def __delitem__(self, key: K) -> None:
        self[key]
        self._own.pop(key, None)
        self._gone.add(key)

    def __iter__(self) -> Iterator[K]:
        yield from self._own
        yield from (k for k in self._base if k not in self._own and k not in self._gone)

    def __len__(self) -> int:
        return sum(1 for _ in self)
