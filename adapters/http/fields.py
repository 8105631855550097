"""Header hygiene: which fields pass, which end here (RFC 9110 section 7.6.1, design 4).

Fields that pass are kept flat (name, ``": "``, value, CRLF, name, …) so that rendering a head is
one join.
"""

from typing import Final

COLON = b": "
CRLF = b"\r\n"


# What a field of the tables below means to the gateway itself: small integers, because they are
# compared for every field of every message.
DROP: Final = 0
HOST: Final = 1
LENGTH: Final = 2
TRANSFER: Final = 3
CONNECTION: Final = 4
EXPECT: Final = 5
AUTHORIZATION: Final = 6
TIMEOUT: Final = 7
HOPS: Final = 8
ACCEPT: Final = 9
TYPE: Final = 10
UPGRADE: Final = 11
LAST_EVENT: Final = 12

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
    **dict.fromkeys(_HOP_BY_HOP + _UNTRUSTED, DROP),
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": TRANSFER,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"authorization": AUTHORIZATION,
    b"hilum-timeout": TIMEOUT,
    b"hilum-hops": HOPS,
    b"accept": ACCEPT,
    b"content-type": TYPE,
    b"upgrade": UPGRADE,
    b"last-event-id": LAST_EVENT,
}

RESPONSE: dict[bytes, int] = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"upgrade": DROP,
    b"content-length": LENGTH,
    b"transfer-encoding": TRANSFER,
    b"connection": CONNECTION,
    b"content-type": TYPE,
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
