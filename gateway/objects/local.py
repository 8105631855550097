"""The provider of what the gateway answers itself: ``$site`` methods, channels, descriptions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from gateway.calls import MAX_MESSAGE
from gateway.message import Call, Refusal, Reply, Status
from gateway.ports import Answer, Permit, Sink
from gateway.view import Route
from policy.model import Action
from registry.names import Name

log = logging.getLogger("hilum.objects")


class Result(NamedTuple):
    """What a handler answers; ``fields`` are whole extra header lines."""

    body: bytes
    content_type: bytes = b"application/json"
    status: Status = Status.OK
    fields: tuple[bytes, ...] = ()


Handler = Callable[[Call, Route, bytes], Awaitable[Result]]


class LocalProvider:
    """Answers permits without a target: by the handler of the name, else of the action.

    These calls may wait for the disk, so each runs in a task; relayed calls never do.
    """

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._limit = limit
        self.woke: Callable[[], None] = _nothing
        """Told after every wait: time has passed, and measurements should know."""
        self._by_name: dict[Name, Handler] = {}
        self._limits: dict[Name, int] = {}
        self._by_action: dict[Action, Handler] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def serve(self, name: Name, handler: Handler) -> None:
        """Answer calls of one of the site's own methods."""
        self._by_name[name] = handler

    def widen(self, name: Name, limit: int) -> None:
        """Let calls of one method have a larger payload than others, in bytes."""
        self._limits[name] = max(limit, self._limit)

    def serve_action(self, action: Action, handler: Handler) -> None:
        """Answer an action on every name that has no handler of its own."""
        self._by_action[action] = handler

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Collect the payload, then run the handler."""
        call = permit.call
        handler = self._by_name.get(call.name) or self._by_action.get(call.action)
        limit = self._limits.get(call.name, self._limit)
        collecting = _Collecting(self, permit, answer, handler, limit)
        collecting.body(body, end)
        return collecting


class _Collecting:
    """One call of a local handler."""

    def __init__(
        self,
        provider: LocalProvider,
        permit: Permit,
        answer: Answer,
        handler: Handler | None,
        limit: int,
    ) -> None:
        self._provider = provider
        self._permit = permit
        self._answer = answer
        self._handler = handler
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._gone = False

    def body(self, data: bytes, end: bool) -> None:
        if self._task is not None:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._run(_too_large(self._limit))
        elif end and self._handler is not None:
            payload = b"".join(self._parts)
            self._run(self._handler(self._permit.call, self._permit.route, payload))
        elif end:
            self._run(_no_handler(self._permit.call))

    def cancel(self) -> None:
        """Nobody waits any more; a change that is on its way to the log goes on."""
        self._gone = True

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def _run(self, work: Awaitable[Result]) -> None:
        task = asyncio.ensure_future(self._respond(work))
        self._task = task
        self._provider.tasks.add(task)
        task.add_done_callback(self._provider.tasks.discard)

    async def _respond(self, work: Awaitable[Result]) -> None:
        try:
            result = await self._awaited(work)
        except Refusal as refusal:
            self._fail(refusal)
        except Exception:
            log.exception("a call of %s failed inside the gateway", self._permit.call.name)
            detail = "the gateway failed to answer; its log says why"
            self._fail(Refusal(Status.INTERNAL, detail))
        else:
            if not self._gone:
                head = Reply(
                    result.status,
                    content_type=result.content_type,
                    length=len(result.body),
                    fields=list(result.fields),
                )
                self._answer.reply(head, result.body, end=True)

    async def _awaited(self, work: Awaitable[Result]) -> Result:
        try:
            return await work
        finally:
            self._provider.woke()

    def _fail(self, refusal: Refusal) -> None:
        if not self._gone:
            self._answer.refused(refusal)


def _nothing() -> None:
    pass


async def _too_large(limit: int) -> Result:
    raise Refusal(Status.TOO_LARGE, f"a message may have at most {limit} bytes")


async def _no_handler(call: Call) -> Result:
    raise Refusal(Status.BAD_REQUEST, f"{call.name} does not understand {call.action}")
