"""Payloads that a definition asks to be checked: its ``input`` or ``schema`` (design 4). Pure."""

import msgspec

from gateway.message import Call, Refusal, Status
from policy.model import Action
from registry.validation import InvalidValue, Validator

CHECKED = 64 * 1024
"""Bytes of a payload that is checked: it is held whole, and checked on the loop."""


def carries_payload(call: Call) -> bool:
    """Return whether a call has a payload to check: a GET's arguments are in its query."""
    return call.action in (Action.CALL, Action.PUBLISH) and call.verb not in (b"GET", b"HEAD")


def refuse_invalid(validator: Validator, payload: bytes) -> Refusal | None:
    """Return why a payload does not fit its schema, None when it does."""
    try:
        value = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        return Refusal(Status.BAD_REQUEST, f"the payload must be JSON: {error}")
    try:
        validator.check(value)
    except InvalidValue as error:
        return Refusal(Status.INVALID, f"the payload does not fit its schema: {error}")
    return None


def too_large() -> Refusal:
    """Return the refusal of a payload that is too large to be checked."""
    return Refusal(Status.TOO_LARGE, f"a payload with a schema may have at most {CHECKED} bytes")
