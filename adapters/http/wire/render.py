"""Heads and error documents as bytes (RFC 9112, RFC 9457)."""

from email.utils import formatdate
from http import HTTPStatus

from gateway.message import Refusal, Status
from gateway.problems import document_of, problem

__all__ = ["problem", "refusal_document"]

STATUS_LINES: dict[int, bytes] = {
    **{code: b"HTTP/1.1 %d \r\n" % code for code in range(100, 1000)},
    **{s.value: b"HTTP/1.1 %d %s\r\n" % (s.value, s.phrase.encode()) for s in HTTPStatus},
}
VIA = b"Via: 1.1 hilum\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
KEEP_ALIVE = b"Connection: keep-alive\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ORIGIN_PROVIDER = b"Hilum-Origin: provider\r\n"
LAST_CHUNK = b"0\r\n\r\n"


_LENGTHS: dict[int, bytes] = {}


def length(size: int) -> bytes:
    """Return a Content-Length field."""
    line = _LENGTHS.get(size)
    if line is None:
        line = b"Content-Length: %d\r\n" % size
        if len(_LENGTHS) < 4096:
            _LENGTHS[size] = line
    return line


def chunk(data: bytes, *, end: bool) -> bytes:
    """Return one chunk of a chunked body, with the last one behind it at the end."""
    framed = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return framed + LAST_CHUNK if end else framed


def date_line(unix_time: float) -> bytes:
    """Return a Date field (RFC 9110 section 6.6.1)."""
    return b"Date: %s\r\n" % formatdate(unix_time, usegmt=True).encode()


def refusal_document(refusal: Refusal) -> tuple[int, list[bytes], bytes]:
    """Return HTTP status, extra fields and body of a refusal."""
    wire = refusal.status.wire
    fields = []
    if refusal.retry_after:
        fields.append(b"Retry-After: %d\r\n" % refusal.retry_after)
    if refusal.status is Status.UNAUTHENTICATED:
        fields.append(b'WWW-Authenticate: Bearer realm="hilum"\r\n')
    return wire.http, fields, document_of(refusal)
