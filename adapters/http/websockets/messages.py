"""The JSON messages of the WebSocket: what clients may send, read strictly (design 6).

Every message has an ``op``; one with an ``id`` is answered by exactly one ``reply`` with that id.
"""

import re
from base64 import b64decode
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from adapters.http.wire import render
from adapters.http.wire.payloads import is_json, members
from gateway.cloudevents import MAX_ATTRIBUTES, http_fields
from gateway.message import Call, Fields, Origin, Refusal, Reply, Status
from policy.identity.jwt import TOKEN_BYTES

SAFE = 2**53
"""Integers up to this are exact in every language's JSON."""
Id: TypeAlias = Annotated[int, Meta(ge=-SAFE, le=SAFE)] | Annotated[str, Meta(max_length=64)]
Text: TypeAlias = Annotated[str, Meta(max_length=2048)]
Field: TypeAlias = Annotated[str, Meta(max_length=512, pattern=r"\A[ -~]*\Z")]
"""What can be a header field's value."""
Attributes: TypeAlias = Annotated[dict[str, str], Meta(max_length=MAX_ATTRIBUTES)]
EVENT_ID = b"Hilum-Event-Id: "
TRACES = (b"traceparent", b"tracestate")
_STATUSES = {status.slug: status for status in Status if status is not Status.CANCELLED}
_TYPE = re.compile(r"[!-~]{1,127}/[ -~]{1,127}")


class Message(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", rename="camel"):
    """The base of all: unknown members are errors."""


class Auth(Message, frozen=True, tag="auth"):
    """Authenticate, for clients that cannot send an Authorization header (browsers).

    Later also: present a newer token of the same principal, before this one expires.
    """

    token: Annotated[str, Meta(max_length=TOKEN_BYTES)]
    id: Id | None = None


class Load(Message, frozen=True):
    """A payload: ``args`` is JSON; ``payload`` is JSON, text or base64, by type and encoding."""

    args: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET
    content_type: Annotated[str, Meta(max_length=255)] = ""
    encoding: Literal["", "base64"] = ""


class CallMethod(Load, frozen=True, tag="call", kw_only=True):
    """Call a method; ``timeout`` is milliseconds, the trace is passed on (W3C Trace Context)."""

    id: Id
    name: Text
    timeout: Annotated[int, Meta(ge=1, le=86_400_000)] | None = None
    traceparent: Field = ""
    tracestate: Field = ""


class Publish(Load, frozen=True, tag="publish", kw_only=True):
    """Publish an event; without an ``id`` nothing is answered.

    ``attributes`` are those of a CloudEvent, in place of Hilum's or beside them.
    """

    name: Text
    id: Id | None = None
    attributes: Attributes = {}


class Subscribe(Message, frozen=True, tag="subscribe"):
    """Subscribe to a channel; its events carry ``sub``, which is this ``id``."""

    id: Id
    name: Text
    after: Annotated[str, Meta(max_length=128)] = ""
    group: Annotated[str, Meta(max_length=255)] = ""


class Unsubscribe(Message, frozen=True, tag="unsubscribe"):
    """End a subscription."""

    sub: Id
    id: Id | None = None


class Describe(Message, frozen=True, tag="describe"):
    """Describe an object."""

    id: Id
    name: Text


class Get(Message, frozen=True, tag="get"):
    """Read a channel's last value."""

    id: Id
    name: Text


class Provide(Message, frozen=True, tag="provide"):
    """Provide a registered method through this connection, as one of its registrations."""

    id: Id
    name: Text
    microservice: Text = ""
    version: Text = ""
    instance: Text = ""


class Withdraw(Message, frozen=True, tag="withdraw"):
    """Provide a method no longer."""

    name: Text
    id: Id | None = None


class Answer(Load, frozen=True, tag="reply", kw_only=True):
    """Answer a call of a provided method; ``detail`` makes a problem document of an error."""

    id: Text
    status: Text = "ok"
    detail: Text = ""


Operation: TypeAlias = (
    Auth
    | CallMethod
    | Publish
    | Subscribe
    | Unsubscribe
    | Describe
    | Get
    | Provide
    | Withdraw
    | Answer
)
OPERATIONS = "auth, call, publish, subscribe, unsubscribe, describe, get, provide, withdraw, reply"


class _Identified(Struct):
    """What is read of a message that cannot be understood, so that its sender can match it."""

    id: Any = None


_decoder = msgspec.json.Decoder(Operation)
_id_decoder = msgspec.json.Decoder(_Identified)


def read_message(text: str) -> Operation:
    """Read a message; raises Refusal, and ``id_of`` tells what to answer to."""
    try:
        message: Operation = _decoder.decode(text)
    except (ValueError, RecursionError) as error:
        detail = f"{error}" or "the message is not valid"
        if "`$.op`" in detail or "`op`" in detail:
            detail = f"op must be one of: {OPERATIONS} ({detail})"
        raise Refusal(Status.BAD_REQUEST, detail) from None
    return message


def id_of(text: str) -> int | str | None:
    """Return the id of a message that cannot be understood, None if it has no usable one."""
    try:
        found = _id_decoder.decode(text).id
    except (ValueError, RecursionError):
        return None
    if isinstance(found, str):
        return found if len(found) <= 64 else None
    return found if type(found) is int and abs(found) <= SAFE else None


def payload_of(load: Load) -> tuple[bytes, bytes]:
    """Return a message's payload and content type; raises Refusal."""
    kind = load.content_type
    if kind and not _TYPE.fullmatch(kind):
        raise _bad("contentType", "must be a media type such as text/plain")
    if load.args is not UNSET:
        if load.payload is not UNSET or kind or load.encoding:
            raise _bad("args", "is JSON by itself: leave out payload, contentType and encoding")
        return bytes(load.args), b"application/json"
    if load.payload is UNSET:
        return b"", kind.encode()
    if load.encoding:
        try:
            data = b64decode(_string(load.payload), validate=True)
        except ValueError as error:
            raise _bad("payload", f"is not base64: {error}") from None
        return data, (kind or "application/octet-stream").encode()
    if not kind or is_json(kind):
        return bytes(load.payload), (kind or "application/json").encode()
    return _string(load.payload).encode(), kind.encode()


def fill(call: Call, operation: CallMethod | Publish) -> None:
    """Note what else a caller or publisher said, as header fields."""
    if isinstance(operation, Publish):
        call.fields = http_fields(operation.attributes) if operation.attributes else []
        return
    call.traceparent = operation.traceparent.encode()
    for name, value in zip(TRACES, (operation.traceparent, operation.tracestate), strict=True):
        if value:
            call.fields += (name, b": ", value.encode(), b"\r\n")


def trace_of(fields: Fields) -> dict[str, object]:
    """Return the trace that a call belongs to, as members of a message."""
    found: dict[str, object] = {}
    for at in range(0, len(fields), 4):
        name = fields[at].lower()
        if name in TRACES:
            found[name.decode()] = fields[at + 2].decode("latin-1")
    return found


def status_of(slug: str) -> Status:
    """Return the status that a provider's answer names; raises Refusal."""
    status = _STATUSES.get(slug)
    if status is None:
        raise _bad("status", f"{slug[:40]!r} is not one of: {', '.join(_STATUSES)}")
    return status


def _string(raw: Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except ValueError:
        raise _bad("payload", "must be a string for this contentType and encoding") from None


def _bad(member: str, why: str) -> Refusal:
    return Refusal(Status.BAD_REQUEST, f"{member} {why}")


def reply_of(key: int | str, head: Reply, body: bytes) -> dict[str, object]:
    """Return the message that answers a call."""
    document: dict[str, object] = {"op": "reply", "id": key, "status": head.status.slug}
    if head.origin is Origin.PROVIDER:
        document |= {"origin": "provider", "code": head.code}
    for line in head.fields:
        if line.startswith(EVENT_ID):
            document["event"] = line.removeprefix(EVENT_ID).strip().decode()
    return {**document, **members(head.content_type.decode("latin-1"), body)}


def problem_of(refusal: Refusal) -> dict[str, object]:
    """Return a refusal as members of a message, with its problem document (RFC 9457)."""
    document = msgspec.Raw(render.refusal_document(refusal)[2].strip())
    found: dict[str, object] = {"status": refusal.status.slug, "problem": document}
    return {**found, "retryAfter": refusal.retry_after} if refusal.retry_after else found


def too_many(limit: int, what: str) -> Refusal:
    """Return the refusal of what a socket may not have more of."""
    detail = f"one socket may have {limit} {what}: wait, or open another one"
    return Refusal(Status.THROTTLED, detail, retry_after=1)
