"""How a call looks as a message on a broker, and what its reply says. Pure."""

import re
from contextlib import suppress

from gateway.cloudevents import extras_of
from gateway.message import WIRE, Call, Status, status_of_http

NOBODY = 0x10
"""PUBACK reason code "No matching subscribers" (MQTT 5.0 section 3.4.2.1)."""
STATUS = "hilum-status"
"""User property of a reply that is an error: a status such as ``not-found``, or its HTTP code."""
PASSED = (b"traceparent", b"tracestate")
"""Fields of a call that become user properties, beside the attributes of CloudEvents."""

_PASSABLE = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")
_STATUSES = {status.slug: status for status in Status}
_REFUSALS = {
    0x87: Status.DENIED,
    0x95: Status.TOO_LARGE,
    0x97: Status.THROTTLED,
    0x99: Status.INVALID,
}


def refusal(code: int) -> Status:
    """Return what a broker's reason code for a message of ours means for its call."""
    return _REFUSALS.get(code, Status.PROVIDER_ERROR)


def replied(said: str) -> tuple[Status, int]:
    """Return the status that a reply claims and its HTTP code; code 0 when it makes no sense."""
    if not said:
        return Status.OK, WIRE[Status.OK].http
    status = _STATUSES.get(said)
    if status is not None:
        return status, status.wire.http
    if said.isascii() and said.isdigit() and len(said) == 3 and 200 <= int(said) < 600:
        code = int(said)
        return (Status.OK if code < 300 else status_of_http(code)), code
    return Status.PROVIDER_ERROR, 0


def attributes(call: Call) -> list[tuple[str, str]]:
    """Return a call's fields that are user properties too (CloudEvents MQTT binding 3.1.2).

    Attributes that are too many, or that no CloudEvent can have, are left out.
    """
    fields = call.fields
    if not fields:
        return []
    found: list[tuple[str, str]] = []
    with suppress(ValueError):
        extras = extras_of(fields)
        if extras is not None:
            found += extras.attributes
    for at in range(0, len(fields) - 3, 4):
        name = fields[at].lower()
        if name in PASSED and _PASSABLE.fullmatch(fields[at + 2]):
            found.append((name.decode("ascii"), fields[at + 2].decode("ascii")))
    return found
