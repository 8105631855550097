"""Header hygiene: which fields pass, which end here (RFC 9110 section 7.6.1, design 4).

Fields that pass are kept flat (name, ``": "``, value, CRLF, name, …) so that rendering a head is
one join.
"""

from typing import Final

COLON = b": "
CRLF = b"\r\n"


# What a field of the tables below means to the gateway itself: small integers, because they are
# compared for every field of every message.
PASS: Final = 0
ACCEPT: Final = 1
TRACE: Final = 2
TYPE: Final = 3
"""Up to here a field passes on, whether or not the gateway reads it too."""
DROP: Final = 4
HOST: Final = 5
LENGTH: Final = 6
TRANSFER: Final = 7
CONNECTION: Final = 8
EXPECT: Final = 9
AUTHORIZATION: Final = 10
TIMEOUT: Final = 11
HOPS: Final = 12
UPGRADE: Final = 13
LAST_EVENT: Final = 14
COOKIE: Final = 15

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
    b"traceparent": TRACE,
    b"cookie": COOKIE,
}

RESPONSE: dict[bytes, int] = {
    **dict.fromkeys(_HOP_BY_HOP, DROP),
    b"upgrade": DROP,
    b"content-length": LENGTH,
    b"transfer-encoding": TRANSFER,
    b"connection": CONNECTION,
    b"content-type": TYPE,
    b"set-cookie": COOKIE,
}


KNOWN = 4096
"""Raw names whose meaning is remembered; more are looked up each time."""
REQUESTS: dict[bytes, int] = {}
RESPONSES: dict[bytes, int] = {}


def of_request(name: bytes) -> int:
    """Return what a request's field means, by its name as it was sent."""
    kind = REQUESTS.get(name)
    if kind is None:
        lowered = name.lower()
        kind = REQUEST.get(lowered, DROP if is_foreign(lowered) else PASS)
        if len(REQUESTS) < KNOWN:
            REQUESTS[name] = kind
    return kind


def of_response(name: bytes) -> int:
    """Return what a response's field means, by its name as it was sent."""
    kind = RESPONSES.get(name)
    if kind is None:
        lowered = name.lower()
        kind = RESPONSE.get(lowered, DROP if lowered.startswith(b"hilum") else PASS)
        if len(RESPONSES) < KNOWN:
            RESPONSES[name] = kind
    return kind


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
