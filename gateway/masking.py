"""What an allowing policy obliges to: headers for the provider, and members that nobody sees.

A masked member becomes ``null``. What cannot be masked, because it is no JSON or too large, is
refused, never passed on.
"""

from typing import Any, Final, Protocol, TypeAlias

import msgspec

from gateway.message import Call, Fields, Refusal, Reply, Status
from gateway.ports import Caller
from policy.decision import Decision
from policy.model import Obligations

Mask: TypeAlias = tuple[str, ...]
"""JSON Pointers (RFC 6901), in which ``*`` stands for every element of an array."""

NO_JSON: Final = "policy lets you see this with some members masked, but it is no JSON"
_TOO_LARGE: Final = (
    "policy lets you see this with some members masked, but it is too large for that"
)


def mask_of(decision: Decision) -> Mask:
    """Return what a decision obliges to mask."""
    return () if decision.obligations is None else decision.obligations.mask


def masked(payload: bytes, content_type: bytes, mask: Mask) -> bytes | None:
    """Return JSON with the members under ``mask`` null; None when it is no JSON.

    It is always written anew, so that a member that stands there twice hides nothing. Without a
    type that says JSON it must be an object or an array.
    """
    kind = content_type.partition(b";")[0].strip().lower()
    try:
        value: Any = msgspec.json.decode(payload)
        if not isinstance(value, dict | list) and not kind.endswith((b"/json", b"+json")):
            return None
        for pointer in mask:
            _hide(value, pointer.split("/")[1:])
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _hide(value: Any, steps: list[str]) -> None:
    """Make what the steps lead to null; what is not there stays so."""
    step, rest = steps[0].replace("~1", "/").replace("~0", "~"), steps[1:]
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = [step] if step in value else []
    elif isinstance(value, list):
        index = int(step) if step.isascii() and step.isdigit() and len(step) < 10 else -1
        keys = list(range(len(value))) if step == "*" else [index] * (0 <= index < len(value))
    for key in keys:
        if rest:
            _hide(value[key], rest)
        else:
            value[key] = None


class Pending(Protocol):
    """A call under way: a deadline in the past has it ended by the next sweep."""

    deadline: float


def obliged(
    call: Call, duties: Obligations, caller: Caller, pending: Pending, limit: int
) -> Caller:
    """Do what is to be done before a call is sent; return who gets its reply.

    ``limit`` is how many bytes of a reply may be held to be masked.
    """
    if duties.headers:
        call.fields = _with_headers(call.fields, duties.headers)
    if not duties.mask:
        return caller
    # A compressed reply could not be masked, nor a part of one.
    call.fields = _without(call.fields, {b"accept-encoding", b"range", b"if-range"})
    return MaskedCaller(caller, duties.mask, pending, limit)


def _with_headers(fields: Fields, headers: dict[str, str]) -> Fields:
    # CGI and WSGI read ``_`` as ``-``: a caller's X-A would stand beside our X_A.
    own = {name.lower().encode() for name in headers}
    fields = _without(fields, own | {name.replace(b"_", b"-") for name in own})
    for name, value in headers.items():
        fields += (name.encode(), b": ", value.encode(), b"\r\n")
    return fields


def _without(fields: Fields, names: set[bytes]) -> Fields:
    kept: Fields = []
    for at in range(0, len(fields), 4):
        if fields[at].lower() not in names:
            kept += fields[at : at + 4]
    return kept


class MaskedCaller:
    """Stands before a caller: holds the reply until it is whole, and masks it."""

    def __init__(self, caller: Caller, mask: Mask, pending: Pending, limit: int) -> None:
        self._caller = caller
        self._mask = mask
        self._pending = pending
        self._limit = limit
        self._head: Reply | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._refused = False
        self.pause = caller.pause
        self.resume = caller.resume

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        """Hold the head."""
        self._head = head
        self.reply_body(body, end)

    def reply_body(self, data: bytes, end: bool) -> None:
        """Hold the payload; pass all of it on at its end."""
        if self._refused:
            return
        self._parts.append(data)
        self._size += len(data)
        if self._size > self._limit:
            self._pending.deadline = 0.0
            self._refuse(_TOO_LARGE)
        elif end:
            self._pass_on()

    def refuse(self, refusal: Refusal) -> None:
        """Pass a refusal on: no reply has begun."""
        self._caller.refuse(refusal)

    def abort(self) -> None:
        """The reply broke off, of which the caller has seen nothing."""
        if not self._refused:
            detail = "the reply broke off before its end"
            self._caller.refuse(Refusal(Status.PROVIDER_ERROR, detail))

    def _pass_on(self) -> None:
        head, payload = self._head, b"".join(self._parts)
        assert head is not None
        if payload:
            hidden = masked(payload, head.content_type, self._mask)
            if hidden is None:
                self._refuse(NO_JSON)
                return
            payload = hidden
            head.length = len(payload)
        self._caller.reply(head, payload, True)

    def _refuse(self, detail: str) -> None:
        self._refused = True
        self._parts = []
        self._caller.refuse(Refusal(Status.DENIED, detail))
