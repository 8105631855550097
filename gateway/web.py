"""The port to other people's web servers: who asks a provider or another site is handed this."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class FetchError(Exception):
    """A server gave no answer that can be used; the text says why."""


class Answer(NamedTuple):
    """What a server answered."""

    status: int
    body: bytes


class Web(Protocol):
    """Asks over HTTP, bounded in time and size, without following redirects."""

    async def get(self, url: str) -> bytes:
        """Return a document; raises FetchError unless the answer is 200."""
        ...

    async def ask(
        self, verb: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Make a request; raises FetchError."""
        ...
