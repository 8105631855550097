"""The HTTP client of the command line: everything it asks of a site is a call of a name.

It is the standard library's: one request at a time needs no more, and it starts at once.
"""

import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from adapters.client.sse import EventReader, ServerEvent
from gateway.message import Status, status_of_http
from registry.urls import InvalidUrl, parse_url

MAX_REPLY = 64 * 1024 * 1024
"""Bytes of a reply that is read whole."""
MARGIN = 5.0
"""Seconds that the gateway gets beyond a call's own deadline to say that it has passed."""
REUSE = 3.0
"""Seconds for which an idle connection is used again: gateways keep them much longer."""
SILENCE = 60.0
"""Seconds without a byte, after which a stream of events is taken for broken."""

FOREIGN = "is it a Hilum gateway, and of this version?"

_SAFE = "/:,;=~@$%"
_OF_SLUG = {status.slug: status for status in Status}


class Problem(Exception):
    """What went wrong with a call, and for the user: ``hint`` says what to do."""

    def __init__(
        self, status: Status, detail: str, *, hint: str = "", extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.hint = hint
        self.extra = dict(extra or {})


class Unreachable(Problem):
    """No answer came: the site is not there, or the connection broke."""


class Document(dict[str, Any]):
    """A JSON object of an answer. What it lacks, a gateway of ours would have said."""

    def __missing__(self, key: str) -> Any:
        """Say what is missing."""
        raise Problem(Status.PROVIDER_ERROR, f"the answer has no {key!r}", hint=FOREIGN)


class Answer(NamedTuple):
    """A whole reply; ``by_provider`` says that a service made it, not the gateway."""

    code: int
    content_type: str
    body: bytes
    by_provider: bool
    event_id: str
    """Of a channel's last value."""

    @property
    def is_json(self) -> bool:
        """Whether the payload says that it is JSON."""
        kind = self.content_type.partition(";")[0].strip().lower()
        return kind == "application/json" or kind.endswith("+json")


class Client:
    """Calls names at one gateway. ``url`` is its data listener's.

    In a ``with`` block it keeps its connection from one call to the next.
    """

    def __init__(self, url: str, token: str = "", timeout: float = 30.0) -> None:
        try:
            self._url = parse_url(url)
        except InvalidUrl as error:
            raise Problem(Status.BAD_REQUEST, f"the URL {url!r}: {error}") from error
        self.url = str(self._url).rstrip("/")
        self.timeout = timeout
        self._token = token
        self._connection: http.client.HTTPConnection | None = None
        self._keep = False
        self._used = 0.0

    def __enter__(self) -> "Client":
        self._keep = True
        return self

    def __exit__(self, *_: object) -> None:
        self._keep = False
        self.close()

    def call(
        self,
        name: str,
        payload: bytes = b"",
        content_type: str = "application/json",
        *,
        verb: str = "POST",
        accept: str = "",
        query: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Call a method, publish to a channel, or GET what a name holds.

        Raises Problem for what the gateway refuses; what a service answers is an Answer.
        """
        seconds = self.timeout if timeout is None else timeout
        fields = {"Hilum-Timeout": str(max(1, round(seconds * 1000)))}
        if payload:
            fields["Content-Type"] = content_type
        if accept:
            fields["Accept"] = accept
        text = f"?{urlencode(query)}" if query else ""
        try:
            response = self._send(verb, name, payload, fields, seconds + MARGIN, text)
            body = response.read(MAX_REPLY + 1)
            if len(body) > MAX_REPLY:
                raise Problem(Status.TOO_LARGE, f"the reply is larger than {MAX_REPLY} bytes")
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        finally:
            if not self._keep:
                self.close()
        self._used = time.monotonic()
        return _answer(response, body)

    def ask(self, method: str, document: Mapping[str, Any]) -> Document:
        """Call one of the site's own methods, such as ``policy/get``, with JSON both ways."""
        answer = self.call(f"$site/{method}", json.dumps(document).encode())
        return self.document(answer)

    def document(self, answer: Answer) -> Document:
        """Return the JSON object that a reply is."""
        try:
            document = json.loads(answer.body, object_hook=Document)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, Document):
            detail = f"{self.url} answered with something else than a JSON object"
            raise Problem(Status.PROVIDER_ERROR, detail, hint=FOREIGN)
        return document

    def subscribe(
        self, name: str, *, after: str = "", group: str = "", last: str = ""
    ) -> Iterator[ServerEvent]:
        """Subscribe to a channel; returns its events, as CloudEvents, until the stream ends.

        ``last`` is the id of the last event that was seen, and wins over ``after``. Raises Problem
        when the gateway refuses or ends it, Unreachable when the connection breaks.
        """
        fields = {"Accept": "text/event-stream"}
        if last:
            fields["Last-Event-ID"] = last
        asked = {"format": "cloudevents", "after": after, "group": group}
        query = "?" + urlencode({key: value for key, value in asked.items() if value})
        self.close()
        try:
            response = self._send("GET", name, b"", fields, SILENCE, query)
            if response.status >= 400:
                raise _problem(response.status, response.read(MAX_REPLY))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        except Problem:
            self.close()
            raise
        return self._events(response)

    def _events(self, response: http.client.HTTPResponse) -> Iterator[ServerEvent]:
        reader = EventReader()
        try:
            while data := response.read1(65_536):
                for event in reader.feed(data):
                    if event.kind == "end":
                        raise _problem(0, event.data.encode())
                    yield event
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(
        self,
        verb: str,
        name: str,
        payload: bytes,
        fields: Mapping[str, str],
        timeout: float,
        query: str = "",
    ) -> http.client.HTTPResponse:
        connection = self._open(timeout)
        target = f"{self._url.path.rstrip('/')}/{quote(name.lstrip('/'), safe=_SAFE)}{query}"
        headers = {"User-Agent": "hilum", **fields}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection.request(verb, target, payload or None, headers)
        return connection.getresponse()

    def _open(self, timeout: float) -> http.client.HTTPConnection:
        connection = self._connection
        if connection is None or time.monotonic() - self._used > REUSE:
            self.close()
            host, port = self._url.host, self._url.port
            if self._url.scheme == "https":
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(
                    host, port, timeout=timeout, context=context
                )
            else:
                connection = http.client.HTTPConnection(host, port, timeout=timeout)
            self._connection = connection
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        return connection

    def _unreachable(self, error: Exception) -> Unreachable:
        where = self.url
        if isinstance(error, ConnectionRefusedError):
            hint = f"is `hilum serve` running at {where}? --url or HILUM_URL names another place"
            return Unreachable(Status.UNAVAILABLE, f"nothing listens at {where}", hint=hint)
        if isinstance(error, TimeoutError):
            return Unreachable(Status.TIMEOUT, f"{where} did not answer in time")
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "SSL_CERT_FILE names the file of the authority that signed it"
            detail = f"the certificate of {where} is not trusted: {error.verify_message}"
            return Unreachable(Status.UNAVAILABLE, detail, hint=hint)
        if isinstance(error, socket.gaierror):
            return Unreachable(Status.UNAVAILABLE, f"there is no host {self._url.host}")
        said = str(error) or type(error).__name__
        hint = "does it speak http or https? the URL must say the same"
        detail = f"the connection to {where} broke: {said}"
        return Unreachable(Status.UNAVAILABLE, detail, hint=hint)


def _answer(response: http.client.HTTPResponse, body: bytes) -> Answer:
    by_provider = response.headers.get("Hilum-Origin") == "provider"
    if response.status >= 400 and not by_provider:
        raise _problem(response.status, body)
    content_type = response.headers.get("Content-Type", "")
    event_id = response.headers.get("Hilum-Event-Id", "")
    return Answer(response.status, content_type, body, by_provider, event_id)


def _problem(code: int, body: bytes) -> Problem:
    """Read a problem document (RFC 9457); whatever else came is told by its HTTP status."""
    try:
        document = json.loads(body)
        slug = document.pop("type").rpartition(":")[2]
        detail = str(document.pop("detail"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        status = status_of_http(code)
        return Problem(status, f"the answer was HTTP {code}, without an explanation")
    extra = {key: value for key, value in document.items() if key not in ("title", "status")}
    return Problem(_OF_SLUG.get(slug) or status_of_http(code), detail, extra=extra)
