"""Who a client is, and whether its identifier will do (MQTT 5.0 section 3.1)."""

from adapters.mqtt.wire.packets import V5, Connack, Connect, Reason
from gateway.site import Site
from policy.model import ANONYMOUS, Principal

CLIENT_ID = 256
"""Characters of a client identifier."""
NOBODY = Principal("anonymous:mqtt", ANONYMOUS.kind)
"""Clients without a token, where they are allowed."""


def principal_of(packet: Connect, site: Site, *, anonymous: bool) -> Principal | Connack:
    """Return who a client is, or why it is nobody: its password is a token of the site."""
    if packet.password is None and packet.username is None:
        if anonymous:
            return NOBODY
        why = "authentication is needed: send a token as the password"
        return Connack(Reason.NOT_AUTHORIZED, why=why)
    secret = (packet.password or b"").decode("ascii", "replace")
    principal = site.identity.tokens.principal_of(secret, site.time())
    if principal is None:
        why = "the password is no token that is valid here: unknown, expired or revoked"
        return Connack(Reason.BAD_USER_NAME_OR_PASSWORD, why=why)
    return principal


def refuse_id(packet: Connect) -> Connack | None:
    """Refuse a client identifier (section 3.1.3.1)."""
    client_id, why = packet.client_id, ""
    if len(client_id) > CLIENT_ID or not client_id.isprintable():
        why = f"a client identifier has at most {CLIENT_ID} printable characters"
    elif not client_id and packet.version != V5 and not packet.clean_start:
        why = "a session that is kept needs a client identifier"  # [MQTT-3.1.3-8] of 3.1.1
    return Connack(Reason.CLIENT_IDENTIFIER_NOT_VALID, why=why) if why else None
