"""Methods that a client provides over the connection it opened: services behind NAT (design 6)."""

import asyncio
from itertools import count
from typing import Protocol

from gateway.calls import MAX_MESSAGE
from gateway.message import Call, Origin, Reply, Status
from gateway.ports import Answer, Permit, Sink

OUTSTANDING = 1024
"""Calls that wait for the answers of one session."""


class Providing(Protocol):
    """A session that provides methods."""

    def is_ready(self) -> bool:
        """Return whether the session is there and takes what it is sent."""
        ...

    def call(self, call_id: str, call: Call, payload: bytes) -> None:
        """Send a call to the client."""
        ...

    def cancel(self, call_id: str) -> None:
        """Tell the client that nobody waits for an answer any more."""
        ...


class SessionProvider:
    """Sends calls to the sessions that provide their methods; ``limit`` bounds a payload."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self.sessions: dict[str, Outstanding] = {}
        self._limit = limit

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        """Collect the payload, then send the call."""
        session = permit.target.session if permit.target is not None else ""
        provided = _Provided(self.sessions.get(session), permit.call, answer, self._limit)
        provided.body(body, end)
        return provided


class Outstanding:
    """The calls that one session has not answered yet; their ids count from ``first``."""

    def __init__(self, session: Providing, first: int = 1) -> None:
        self._session = session
        self._calls: dict[str, _Provided] = {}
        self._ids = count(first)

    def add(self, provided: "_Provided", call: Call, payload: bytes) -> str:
        """Send a call; returns its id, or "" when the session takes no more."""
        if not self._session.is_ready() or len(self._calls) >= OUTSTANDING:
            return ""
        call_id = str(next(self._ids))
        self._calls[call_id] = provided
        self._session.call(call_id, call, payload)
        return call_id

    def cancel(self, call_id: str) -> None:
        """Nobody waits for an answer any more."""
        if self._calls.pop(call_id, None) is not None:
            self._session.cancel(call_id)

    def answer(self, call_id: str, status: Status, content_type: bytes, payload: bytes) -> bool:
        """Pass an answer on; one that nobody waits for any more is dropped (False)."""
        provided = self._calls.pop(call_id, None)
        if provided is not None:
            provided.reply(status, content_type, payload)
        return provided is not None

    def fail(self) -> None:
        """The session is gone, and with it every answer."""
        calls, self._calls = self._calls, {}
        for provided in calls.values():
            provided.fail("the session that provides the method closed")


class _Provided:
    """One call on its way to a session and back: the sink of its exchange."""

    def __init__(
        self, outstanding: Outstanding | None, call: Call, answer: Answer, limit: int
    ) -> None:
        self._outstanding = outstanding
        self._call = call
        self._answer = answer
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._id = ""
        self._done = False

    def body(self, data: bytes, end: bool) -> None:
        """Collect the payload; send it when it is whole."""
        if self._done:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            why = f"a payload for a session may have at most {self._limit} bytes"
            self._later(Status.TOO_LARGE, why)
        elif end:
            self._send(b"".join(self._parts))

    def reply(self, status: Status, content_type: bytes, payload: bytes) -> None:
        """Pass the session's answer on."""
        self._done = True
        if len(payload) > self._limit:
            why = f"the reply is larger than {self._limit} bytes"
            self._answer.failed(Status.TOO_LARGE, why, written=True)
            return
        head = Reply(
            status,
            origin=Origin.PROVIDER,
            code=status.wire.http,
            content_type=content_type,
            length=len(payload),
        )
        if content_type:
            head.fields = [b"Content-Type", b": ", content_type, b"\r\n"]
        self._answer.reply(head, payload, end=True)

    def fail(self, why: str) -> None:
        """The call was sent, but its answer will not come."""
        self._done = True
        self._answer.failed(Status.UNAVAILABLE, why, written=True)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._done = True
        if self._outstanding is not None and self._id:
            self._outstanding.cancel(self._id)

    def pause(self) -> None:
        """The answer comes in one piece."""

    def resume(self) -> None:
        """The answer comes in one piece."""

    def _send(self, payload: bytes) -> None:
        if self._outstanding is not None:
            self._id = self._outstanding.add(self, self._call, payload)
        if not self._id:
            self._later(Status.UNAVAILABLE, "the session that provides the method is busy or gone")

    def _later(self, status: Status, why: str) -> None:
        """Fail, but not within the call that the exchange is making just now."""
        self._done = True
        asyncio.get_running_loop().call_soon(self._fail_unsent, status, why)

    def _fail_unsent(self, status: Status, why: str) -> None:
        self._answer.failed(status, why, written=False)
