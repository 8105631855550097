"""What every relay measurement sends: 64 different requests by 16 callers, 200 bytes of JSON.

In two kinds, because a gateway may remember heads: those that come again byte by byte, as a load
generator's do, and those that never do, because each call has a ``traceparent`` of its own (W3C
Trace Context) and each reply a request id. Real traffic lies between the two.
"""

import json

METHODS = 64
CALLERS = 16
OBJECT = "Bench"
FRESH = "fresh"
"""The object whose requests and replies all differ."""
_BARE = len(json.dumps({"steps": 8421, "note": ""}))
BODY = json.dumps({"steps": 8421, "note": "x" * (200 - _BARE)}).encode()
CALLER_KIND = "device"
ISSUER = "https://issuer.example"
AUDIENCE = "hilum"
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


def path(number: int, name: str = OBJECT) -> str:
    """Return the path that calls a method."""
    return f"/{name}/{method(number)}"


def caller(number: int) -> str:
    """Return the principal of a caller."""
    return f"site:caller{number:02d}"


def request(host: str, number: int, token: str, body: bytes, name: str = OBJECT) -> bytes:
    """Return one request as a client writes it."""
    head = (
        f"POST {path(number, name)} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def traced(head: bytes, number: int) -> bytes:
    """Return a request with a trace of its own."""
    line = b"traceparent: 00-%032x-%016x-00\r\n" % (number, number)
    return head.replace(b"Content-Type:", line + b"Content-Type:", 1)


def marked(reply: bytes, number: int) -> bytes:
    """Return a reply with an id of its own."""
    return reply.replace(b"Connection:", b"X-Request-Id: %032x\r\nConnection:" % number, 1)
