"""The filters of one SUBSCRIBE that wait until first uses are decided (design 7)."""

import asyncio
from collections.abc import Callable
from functools import partial

from adapters.mqtt.desk.desk import Desk
from adapters.mqtt.desk.joining import Client
from adapters.mqtt.wire.packets import Filter, Reason
from adapters.mqtt.wire.topics import has_wildcard
from gateway.first_use.holding import held
from policy.decision import Decision
from policy.model import Action
from registry.model import Kind
from registry.names import InvalidName, Name


class Holding:
    """Fills in the ``reasons`` of a SUBSCRIBE as it is decided; ``subscribe`` returns one.

    What a wildcard matches is not asked about: only rules, and what was asked before, decide.
    """

    def __init__(
        self,
        desk: Desk,
        client: Client,
        reasons: list[int],
        subscribe: Callable[[Filter], int],
        looked: Callable[[], asyncio.Future[None] | None],
    ) -> None:
        self.settling: asyncio.Future[None] | None = None
        self._desk = desk
        self._client = client
        self._reasons = reasons
        self._subscribe = subscribe
        self._looked = looked
        self._waiting = 0

    def holds(self, options: Filter) -> bool:
        """Whether a filter waits; its reason is in its place when ``settling`` is done.

        Raises Refusal when too many first uses wait already.
        """
        at, name = len(self._reasons), self._channel(options.filter)
        plane, principal = self._desk.site.plane, self._client.principal

        def decided(_: Decision) -> None:
            if self._client.session.connected:
                self._reasons[at] = self._subscribe(options)
            self._waiting -= 1
            if not self._waiting:
                self._settle()

        if name is None or not held(plane, principal, Action.SUBSCRIBE, name, decided):
            return False
        self._reasons.append(int(Reason.NOT_AUTHORIZED))
        self._waiting += 1
        if self.settling is None:
            self.settling = asyncio.get_running_loop().create_future()
        return True

    def _channel(self, text: str) -> Name | None:
        """Return the channel that a filter names, None for all other filters."""
        if text.startswith("$share/") or has_wildcard(text):
            return None
        try:
            name = self._desk.names.name_of(text)
        except InvalidName:
            return None
        route = self._desk.site.view.find(name)
        return name if route is not None and route.kind is Kind.CHANNEL else None

    def _settle(self) -> None:
        """All is decided: what was opened then may have to be looked for too."""
        settling, looked = self.settling, self._looked()
        if settling is None or settling.done():
            return
        if looked is None:
            settling.set_result(None)
        else:
            looked.add_done_callback(partial(_settled, settling))


def _settled(settling: asyncio.Future[None], _: asyncio.Future[None]) -> None:
    if not settling.done():
        settling.set_result(None)
