"""Calls made from inside: by the control API, bound methods and protocols that collect replies."""

import asyncio
from typing import NamedTuple

from gateway.exchange import Exchange, Plane
from gateway.message import Call, Refusal, Reply, Status
from gateway.refusals import unknown
from policy.model import Action

MAX_MESSAGE = 1024 * 1024
"""Bytes of a message that is collected before it goes on (design 4)."""


class Answered(NamedTuple):
    """A whole reply."""

    head: Reply
    body: bytes


class _Collector:
    """The caller of one exchange, whose reply becomes a future."""

    def __init__(self, limit: int) -> None:
        self.future: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._limit = limit
        self._head: Reply | None = None
        self._parts: list[bytes] = []
        self._size = 0

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        self._head = head
        self.reply_body(body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            # ``ask`` hears of it and cancels: a port does not call back within a call.
            self._parts.clear()
            self.refuse(Refusal(Status.TOO_LARGE, f"the reply is larger than {self._limit} bytes"))
        elif end and not self.future.done() and self._head is not None:
            self.future.set_result(Answered(self._head, b"".join(self._parts)))

    def refuse(self, refusal: Refusal) -> None:
        if not self.future.done():
            self.future.set_exception(refusal)

    def abort(self) -> None:
        self.refuse(Refusal(Status.PROVIDER_ERROR, "the reply broke off"))

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass


async def ask(plane: Plane, call: Call, payload: bytes, limit: int = MAX_MESSAGE) -> Answered:
    """Make a call with a whole payload and return the whole reply.

    Raises Refusal when the gateway refuses; cancelling the task cancels the call.
    """
    route = plane.view.find(call.name)
    if route is None:
        raise unknown(plane.access, plane.view, call)
    if call.action is Action.CALL:
        call.action = route.action
    call.length = len(payload)
    collector = _Collector(limit)
    exchange = Exchange(plane, call, route, collector)
    exchange.begin(payload, end=True)
    try:
        return await collector.future
    finally:
        exchange.cancel()
