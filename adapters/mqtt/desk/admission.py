"""Who a client is, and whether its identifier will do (MQTT 5.0 sections 3.1 and 4.12)."""

from collections.abc import Callable
from typing import Final

from adapters.mqtt.sessions.ports import Link
from adapters.mqtt.wire.packets import V5, Connack, Connect, Reason
from gateway.identity.identity import Answer, Pending
from gateway.message import Refusal, Status
from gateway.site import Site
from policy.model import ANONYMOUS, Principal

CLIENT_ID = 256
"""Characters of a client identifier."""
NOBODY = Principal("anonymous:mqtt", ANONYMOUS.kind)
"""Clients without a token, where they are allowed."""
BEARER: Final = "bearer"
"""The one authentication method: its data is a token."""
_REASONS = {
    Status.THROTTLED: Reason.CONNECTION_RATE_EXCEEDED,
    Status.UNAVAILABLE: Reason.SERVER_BUSY,
}

Identified = Principal | Connack | Pending


def identify(
    packet: Connect,
    site: Site,
    link: Link,
    then: Callable[[Principal | Connack], None],
    *,
    anonymous: bool,
) -> Identified:
    """Find out who a client is, or why it is nobody; a Pending: ``then`` is told later.

    A token or password counts before the connection's certificate: it was said on purpose.
    """

    def told(found: Principal | Refusal) -> None:
        then(_connack(found) if isinstance(found, Refusal) else found)

    found: Answer
    if packet.authentication_method is not None:
        if packet.authentication_method != BEARER:
            why = f"the authentication method here is {BEARER}, with a token as its data"
            return Connack(Reason.BAD_AUTHENTICATION_METHOD, why=why)
        found = site.identity.bearer(text_of(packet.authentication_data), link.peer, told)
    elif packet.password is None and link.certified is not None:
        return link.certified
    elif packet.password is None and packet.username is None:
        if anonymous:
            return NOBODY
        why = "authentication is needed: send a token as the password"
        return Connack(Reason.NOT_AUTHORIZED, why=why)
    else:
        user, secret = packet.username or "", text_of(packet.password)
        found = site.identity.password(user, secret, link.peer, told)
    return _connack(found) if isinstance(found, Refusal) else found


def text_of(secret: bytes | None) -> str:
    """Return a secret as text; what is no UTF-8 fits nothing."""
    return (secret or b"").decode("utf-8", "surrogateescape")


def refuse_id(packet: Connect) -> Connack | None:
    """Refuse a client identifier (section 3.1.3.1)."""
    client_id, why = packet.client_id, ""
    if len(client_id) > CLIENT_ID or not client_id.isprintable():
        why = f"a client identifier has at most {CLIENT_ID} printable characters"
    elif not client_id and packet.version != V5 and not packet.clean_start:
        why = "a session that is kept needs a client identifier"  # [MQTT-3.1.3-8] of 3.1.1
    return Connack(Reason.CLIENT_IDENTIFIER_NOT_VALID, why=why) if why else None


def _connack(refusal: Refusal) -> Connack:
    reason = _REASONS.get(refusal.status, Reason.BAD_USER_NAME_OR_PASSWORD)
    return Connack(reason, why=refusal.detail)
