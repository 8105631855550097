"""The HTTP side of a microservice that offers methods: JSON in, JSON out, for the gateway only."""

import hmac
import json
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Answer = Callable[[str, list[str], dict[str, Any], str], Any]
"""Answers a request: its verb, the segments of its path, its arguments, and who calls.

KeyError means that there is no such thing, ValueError that the arguments are wrong."""


class NotTheGateway(Exception):
    """The request does not carry the gateway's word for who calls."""


def serve(answer: Answer, key: Callable[[], bytes]) -> str:
    """Serve in threads on a free port; returns the URL. ``key`` is what registering gave."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # Connections stay open.
        disable_nagle_algorithm = True  # Head and body are written apart.

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            path = [unquote(part) for part in urlsplit(self.path).path.split("/")[1:]]
            try:
                who = caller(self.headers["Hilum-Principal"] or "", key(), time.time())
                self._send(200, answer(self.command, path, json.loads(body or b"{}"), who))
            except NotTheGateway as error:
                self._send(401, {"detail": str(error)})
            except KeyError as error:
                self._send(404, {"detail": f"there is no {error}"})
            except (ValueError, TypeError, ArithmeticError) as error:
                self._send(400, {"detail": str(error)})

        def _send(self, status: int, document: Any) -> None:
            body = json.dumps(document).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, *_: object) -> None:
            """Say nothing of requests: there are many."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def caller(line: str, key: bytes, now: float) -> str:
    """Return who calls, believing only what the gateway signed with ``key`` a moment ago.

    ``line`` is ``site:ann;kind=user;t=29400000;mac=…``: HMAC-SHA256 over all before ``;mac=``,
    with the time in minutes.
    """
    said, _, mac = line.partition(";mac=")
    expected = hmac.new(key, said.encode(), sha256).hexdigest()
    if not hmac.compare_digest(mac.encode(), expected.encode()):
        raise NotTheGateway("this service answers only what comes through its gateway")
    principal, *fields = said.split(";")
    minute = int(dict(field.split("=", 1) for field in fields)["t"])
    if abs(now / 60 - minute) > 2:
        raise NotTheGateway("this request is too old")
    return unquote(principal)
