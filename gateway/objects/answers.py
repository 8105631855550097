"""What the site's own methods share: reading their payload, deciding about names, answering."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from gateway.message import Call, Refusal, Status
from gateway.objects.local import Result
from gateway.site import Site
from policy.decision import Question
from policy.model import ADMINISTRATOR, Action
from registry.documents import decode
from registry.names import InvalidName, Name, parse_name
from registry.problems import InvalidDocument

T = TypeVar("T")
CheckEndpoint = Callable[[str, str], Awaitable[str | None]]
"""Returns why an endpoint's URL may not be bound from a peer's address, None when it may.

An operator's own binding has no peer: ``""``.
"""

SMALL = 16 * 1024
"""Bytes of JSON that are parsed on the loop."""
_PARSER = ThreadPoolExecutor(1, "hilum parser")
"""One thread: each further one that computes makes the loop wait longer for the interpreter."""


class Request(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The base of the payloads: unknown keys are errors."""


def answer(value: Any) -> Result:
    """Answer with JSON."""
    return Result(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


async def read(call: Call, payload: bytes, type_: type[T]) -> T:
    """Read a payload, or the query of a GET; errors say line and column, or the parameter."""
    if call.query and not payload:
        return _from_query(call.query, type_)
    return await parsed(
        call, payload, lambda: decode(payload or b"{}", type_, media_type=media_type(call))
    )


def options_of(call: Call, type_: type[T]) -> T:
    """Read what stands in the query, beside a payload; without a query all is as if unsaid."""
    return _from_query(call.query, type_)


async def parsed(call: Call, payload: bytes, parse: Callable[[], T]) -> T:
    """Parse a payload, in a thread when it is large: hostile text may take a second."""
    try:
        small = len(payload) <= SMALL and media_type(call) == "application/json"
        return parse() if small else await aside(parse)
    except InvalidDocument as error:
        raise invalid(error) from error


async def aside(parse: Callable[[], T]) -> T:
    """Parse something in the thread for it."""
    return await asyncio.get_running_loop().run_in_executor(_PARSER, parse)


def _from_query(query: bytes, type_: type[T]) -> T:
    try:
        asked = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=32))
        return msgspec.convert(asked, type_, strict=False)
    except ValueError as error:  # msgspec's ValidationError is one
        raise Refusal(Status.BAD_REQUEST, f"the query: {error}") from error


def media_type(call: Call) -> str:
    """Return the media type of a payload, JSON unless it says otherwise.

    A form's type is what ``curl -d`` sends when nobody told it better: it means JSON here.
    """
    text = call.content_type.decode("latin-1").partition(";")[0].strip().lower()
    if text in ("", "application/x-www-form-urlencoded"):
        return "application/json"
    return text


def permit_kind(call: Call, kind: str) -> None:
    """Refuse to make an administrator on behalf of who is none: rights never grow by delegation."""
    if kind == ADMINISTRATOR and call.principal.kind != ADMINISTRATOR:
        detail = f"{call.principal.id} is no administrator, and only those make an administrator"
        raise Refusal(Status.DENIED, detail)


def invalid(error: InvalidDocument) -> Refusal:
    """Refuse a document, with every problem that was found."""
    problems = [
        {"message": p.message, "path": p.path, "line": p.line, "column": p.column, "hint": p.hint}
        for p in error.problems
    ]
    return Refusal(Status.INVALID, str(error), extra={"problems": problems})


def name_of(site: Site, text: str, *, reserved: bool = False) -> Name:
    """Read a name that is relative to the site or whole."""
    try:
        return parse_name(
            text,
            authority=site.authority,
            aliases=site.aliases,
            remotes=site.remotes,
            reserved=reserved,
        )
    except InvalidName as error:
        raise Refusal(Status.BAD_REQUEST, str(error)) from error


def require(
    site: Site, call: Call, action: Action, name: Name, owner: str = "", endpoint: str = ""
) -> None:
    """Decide about a name in the payload (design 4: the second decision); raises Refusal."""
    question = Question(call.principal, action, name, owner, endpoint=endpoint)
    decision = site.plane.access.decide(question)
    if decision.allowed:
        return
    if site.plane.access.told is not None:
        site.plane.access.told(call.principal, action, name, decision)
    reasons = [str(reason) for reason in decision.reasons]
    bound = f" to {endpoint}" if endpoint else ""
    detail = f"{call.principal.id} may not {action} {name}{bound}: {'; '.join(reasons)}"
    raise Refusal(Status.DENIED, detail, extra={"reasons": reasons})
