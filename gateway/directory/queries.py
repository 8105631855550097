"""A query that runs apart, and how it ended: what a site and its query processes agree on."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A query, what it may see, and what it may use; ``memory`` and ``size`` are in bytes.

    ``only`` are the graphs that may be seen, if those are fewer than the ``hidden`` ones. Of
    descriptions, ``hidden_ids`` are left out and ``instead`` stand for others of their id.
    """

    number: int
    language: str
    query: str
    media_type: str
    seconds: float
    rows: int
    size: int
    memory: int
    offset: int = 0
    network: bool = False
    default_graphs: tuple[str, ...] | None = None
    named_graphs: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    hidden: tuple[str, ...] = ()
    hidden_terms: tuple[str, ...] = ()
    hidden_ids: frozenset[str] = frozenset()
    instead: dict[str, bytes] = {}


class Answer(msgspec.Struct, frozen=True):
    """How a query ended: ``ok``, ``invalid``, ``too-much``, ``time``, ``memory`` or ``failed``.

    ``generation`` is that of the index that was asked; results that follow begin at ``following``.
    """

    number: int
    outcome: str
    body: bytes = b""
    detail: str = ""
    line: int = 0
    column: int = 0
    generation: int = 0
    following: int = 0


class Engine(Protocol):
    """Runs queries on replicas, and is told what they hold."""

    async def ask(self, principal: str, make: Callable[[], Ask]) -> Answer:
        """Run a query when it is its turn, made just then. Raises Refusal."""
        ...

    def feed(self, generation: int, cleared: tuple[str, ...], quads: bytes) -> None:
        """Let the replica follow a change of the index: graphs were emptied, N-Quads came."""
        ...

    def load(self, generation: int, path: Path) -> None:
        """Let the replica begin anew with a file of N-Quads, which is removed then."""
        ...

    def documents(self, put: dict[str, bytes], gone: tuple[str, ...] = ()) -> None:
        """Let the descriptions follow."""
        ...
