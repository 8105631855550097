"""Clients that are away: when their wills are due, and when their sessions end (Unix seconds)."""

from collections.abc import Callable
from functools import partial

from adapters.mqtt.desk.joining import Client, Leaving
from adapters.mqtt.wire.packets import FOR_EVER
from gateway.rota import in_slices

NEVER = float("inf")


class Absences:
    """Who is away. ``will`` and ``end`` are told when something is due."""

    def __init__(self, will: Callable[[Client], None], end: Callable[[Client], None]) -> None:
        self._will = will
        self._end = end
        self._away: dict[Client, float] = {}
        self._next = NEVER

    def __len__(self) -> int:
        return len(self._away)

    def begin(self, client: Client, since: float, will_at: float) -> None:
        """A client is away since a moment; its will is due at another."""
        expiry = client.session.expiry
        client.leaving = Leaving(since, will_at, NEVER if expiry == FOR_EVER else since + expiry)
        client.away(gone=True)
        self._wait(client, client.leaving)

    def end(self, client: Client) -> None:
        """A client is back, or its session is over."""
        client.leaving = None
        self._away.pop(client, None)

    def sweep(self, now: float) -> None:
        """Look at what is due."""
        if now < self._next:
            return
        self._next = min((m for m in self._away.values() if m > now), default=NEVER)
        in_slices([c for c, m in self._away.items() if m <= now], partial(self._look_at, now))

    def _look_at(self, now: float, client: Client) -> None:
        leaving = client.leaving
        if leaving is None or client not in self._away:  # it came back meanwhile
            return
        if leaving.ends_at <= now:
            self._end(client)
            return
        if client.will is not None and leaving.will_at <= now:
            self._will(client)
        self._wait(client, leaving)

    def _wait(self, client: Client, leaving: Leaving) -> None:
        will_at = NEVER if client.will is None else leaving.will_at
        moment = self._away[client] = min(will_at, leaving.ends_at)
        self._next = min(self._next, moment)
