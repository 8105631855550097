"""Header hygiene: which fields pass, which end here (RFC 9110 section 7.6.1, design 4).

Fields that pass are kept flat (name, ``": "``, value, CRLF, name, …) so that rendering a head is
one join.
"""

from enum import IntEnum

COLON = b": "
CRLF = b"\r\n"


class Special(IntEnum):
    """Fields of a message that mean something to the gateway itself."""

    DROP = 0
    HOST = 1
    LENGTH = 2
    TRANSFER = 3
    CONNECTION = 4
    EXPECT = 5
    AUTHORIZATION = 6
    TIMEOUT = 7
    HOPS = 8
    ACCEPT = 9
    TYPE = 10
    UPGRADE = 11
    LAST_EVENT = 12


_HOP_BY_HOP = (
    b"keep-alive",
    b"proxy-connection",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-authentication-info",
    b"te",
    b"trailer",
)
_UNTRUSTED = (
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"x-forwarded-prefix",
    b"x-real-ip",
    b"x-original-url",
    b"x-rewrite-url",
    b"via",
)

REQUEST: dict[bytes, int] = {
    **dict.fromkeys(_HOP_BY_HOP + _UNTRUSTED, Special.DROP),
    b"host": Special.HOST,
    b"content-length": Special.LENGTH,
    b"transfer-encoding": Special.TRANSFER,
    b"connection": Special.CONNECTION,
    b"expect": Special.EXPECT,
    b"authorization": Special.AUTHORIZATION,
    b"hilum-timeout": Special.TIMEOUT,
    b"hilum-hops": Special.HOPS,
    b"accept": Special.ACCEPT,
    b"content-type": Special.TYPE,
    b"upgrade": Special.UPGRADE,
    b"last-event-id": Special.LAST_EVENT,
}

RESPONSE: dict[bytes, int] = {
    **dict.fromkeys(_HOP_BY_HOP, Special.DROP),
    b"upgrade": Special.DROP,
    b"content-length": Special.LENGTH,
    b"transfer-encoding": Special.TRANSFER,
    b"connection": Special.CONNECTION,
    b"content-type": Special.TYPE,
}


def is_foreign(lowered: bytes) -> bool:
    """Return whether a field must not pass although no table names it.

    ``Hilum-*`` is ours alone; a name with ``_`` is read as one with ``-`` by CGI and WSGI
    services, so that it could smuggle either past the tables.
    """
    return b"_" in lowered or lowered.startswith(b"hilum")


def without(flat: list[bytes], connection: bytes) -> list[bytes]:
    """Return the fields without those that a Connection field names (RFC 9110 section 7.6.1)."""
    named = {token.strip().lower() for token in connection.split(b",")}
    kept: list[bytes] = []
    for at in range(0, len(flat), 4):
        if flat[at].lower() not in named:
            kept += flat[at : at + 4]
    return kept
