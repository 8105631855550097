"""What every relay measurement sends: 64 different requests by 16 callers, 200 bytes of JSON.

The heads are those of a plain client; the endpoints are one origin that answers at once.
"""

import json

METHODS = 64
CALLERS = 16
OBJECT = "Bench"
_BARE = len(json.dumps({"steps": 8421, "note": ""}))
BODY = json.dumps({"steps": 8421, "note": "x" * (200 - _BARE)}).encode()
CALLER_KIND = "device"
SIZES = (16 * 1024, 1024 * 1024)
"""Bytes of the larger payloads."""

REPLY = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 20 Nov 2025 12:00:00 GMT\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
)
"""What the upstream answers, as nginx writes it."""


def method(number: int) -> str:
    """Return the name of a method within the object."""
    return f"m{number:02d}"


def path(number: int) -> str:
    """Return the path that calls a method."""
    return f"/{OBJECT}/{method(number)}"


def caller(number: int) -> str:
    """Return the principal of a caller."""
    return f"site:caller{number:02d}"


def request(host: str, number: int, token: str, body: bytes) -> bytes:
    """Return one request as a client writes it."""
    head = (
        f"POST {path(number)} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
