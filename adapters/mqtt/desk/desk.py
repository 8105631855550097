"""What the desk's parts share: the site, its channels, and what a client may have."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from msgspec import Struct

from adapters.mqtt.desk.names import Names
from adapters.mqtt.sessions.ports import Session
from adapters.mqtt.sessions.shares import Shares
from adapters.mqtt.wire.packets import Reason
from gateway.channels import Channels
from gateway.message import Refusal, Status
from gateway.session_port import SessionStore
from gateway.site import Site
from policy.model import Principal

WEEK = 7 * 86_400


class DeskSettings(Struct, frozen=True):
    """What clients may do and have. Seconds, milliseconds for calls, bytes, characters, numbers."""

    anonymous: bool = False
    """Whether clients without a token may connect; policy decides what they may do then."""
    session_expiry: int = WEEK
    """How long a session may outlive its connection."""
    sessions: int = 100_000
    sessions_of_one: int = 20_000
    """Of one principal, connected or not."""
    subscriptions: int = 1000
    """Of one session; so are the next ones."""
    filter_length: int = 2048
    matches: int = 50_000
    """Channels that wildcards may lead to."""
    filters_of_one: int = 200_000
    """Of all sessions of one principal; a filter of many levels counts as several."""
    matches_of_one: int = 500_000
    """The same of channels that filters lead to."""
    calls: int = 128
    methods: int = 1024
    timeout: int = 30_000
    timeout_cap: int = 300_000
    message: int = 1024 * 1024
    """Bytes of a call's payload and of its reply."""


class Desk(NamedTuple):
    """What every part of the desk has at hand. ``keeper`` stores durable sessions."""

    site: Site
    channels: Channels
    names: Names
    settings: DeskSettings
    keeper: SessionStore
    later: Callable[[Callable[[], None]], object]
    """Does something soon, but not within the call that goes on now (``loop.call_soon``)."""
    filters: Shares
    matches: Shares


class NewSession(Protocol):
    """Makes the engine's part of a session."""

    def __call__(
        self,
        *,
        key: str,
        client_id: str,
        principal: Principal,
        number: int,
        durable: bool,
        expiry: int,
        version: int,
    ) -> Session:
        """Make one; arguments as in ``ports.Session``, its id is ``mqtt-<number>``."""
        ...


_PUBACK = frozenset({0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99})
_SUBACK = frozenset({0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2})
_INSTEAD = {Status.TOO_LARGE: Reason.QUOTA_EXCEEDED, Status.NOT_FOUND: Reason.TOPIC_FILTER_INVALID}
"""Where the status' own reason code is none that the packet may have."""


def puback_reason(status: Status) -> int:
    """Return a status as a reason code of PUBACK and PUBREC (sections 3.4.2.1 and 3.5.2.1)."""
    return _reason(status, _PUBACK)


def suback_reason(status: Status) -> int:
    """Return a status as a reason code of SUBACK (section 3.9.3)."""
    return _reason(status, _SUBACK)


def why(refusal: Refusal) -> str:
    """Return what a Reason String says of a refusal: on MQTT a token is the password."""
    if refusal.status is Status.UNAUTHENTICATED:
        return "authentication is needed: connect with a token as the password"
    return refusal.detail


def later(do: Callable[[], None]) -> None:
    """Do something soon, but not within the call that goes on now."""
    asyncio.get_running_loop().call_soon(do)


def _reason(status: Status, allowed: frozenset[int]) -> int:
    code = status.wire.mqtt
    if code in allowed:
        return code
    return _INSTEAD.get(status, Reason.IMPLEMENTATION_SPECIFIC_ERROR)
