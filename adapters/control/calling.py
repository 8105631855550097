"""A request of the control API becomes a Call of one of the site's own names."""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from adapters.control.callers import Callers
from gateway.calls import MAX_MESSAGE, Answered, ask
from gateway.egress import NOBODY
from gateway.message import Call, Fields, Refusal, Reply, Status
from gateway.site import Site
from policy.model import Action
from registry.names import Name

CALL_SECONDS = 30.0
"""The deadline of a call."""
BODY_SECONDS = 30.0
"""How long a client may take to send its payload."""
OWN_FIELDS = frozenset({"content-length", "content-type", "transfer-encoding"})
"""What a response says itself."""


class Calling:
    """Makes Calls for the routes of one listener; ``clock`` is the loop's time."""

    def __init__(self, site: Site, callers: Callers, clock: Callable[[], float]) -> None:
        self.site = site
        self.callers = callers
        self._clock = clock

    async def call(
        self,
        request: Request,
        target: str,
        payload: bytes = b"",
        *,
        content_type: str = "application/json",
        query: str = "",
        fields: Fields | None = None,
        limit: int = MAX_MESSAGE,
        action: Action = Action.CALL,
    ) -> Answered:
        """Call ``<authority>/target`` for who asks; raises Refusal when the gateway refuses.

        ``limit`` is that of the reply in bytes, ``fields`` are end-to-end fields, flat.
        """
        principal = await self.callers.principal_of(request)
        name = Name(f"{self.site.authority}/{target}")
        call = Call(action, name, principal, self._clock() + CALL_SECONDS, fields)
        call.peer = request.client.host if request.client is not None else NOBODY
        call.content_type = content_type.encode("latin-1")
        call.query = query.encode("latin-1")
        return await ask(self.site.plane, call, payload, limit)


def response(answered: Answered) -> Response:
    """Return the response that a reply is, its fields included."""
    head = answered.head
    kind = head.content_type.decode("latin-1")
    return Response(answered.body, head.code or head.status.wire.http, fields_of(head), kind)


def fields_of(head: Reply) -> dict[str, str]:
    """Return the whole lines of a reply of our own as fields."""
    lines = b"".join(head.fields).decode("latin-1").split("\r\n")
    found = (line.partition(":") for line in lines if line)
    return {name: text.strip() for name, _, text in found if name.lower() not in OWN_FIELDS}


async def body_of(request: Request, limit: int = MAX_MESSAGE) -> bytes:
    """Return a request's payload; raises Refusal when it is too large or too slow."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise Refusal(Status.TOO_LARGE, f"a message may have at most {limit} bytes")
    except TimeoutError:
        raise Refusal(Status.TIMEOUT, "the payload did not come in time") from None
    except ClientDisconnect:
        raise Refusal(Status.CANCELLED, "the client is gone") from None
    return b"".join(parts)
