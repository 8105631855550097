"""A luminaire that speaks HTTP: a client of the site, and a little server that is called."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


class Luminaires:
    """The luminaires' own server: one port for all of them, a path for each."""

    def __init__(self) -> None:
        self.levels: dict[str, float] = {}
        levels = self.levels

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                levels[self.path.strip("/")] = float(asked.get("level", 0))
                body = json.dumps({"level": levels[self.path.strip("/")]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class HttpDevice:
    """A device with a bearer token."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    async def __aenter__(self) -> "HttpDevice":
        return self

    async def __aexit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        pass

    async def call(self, name: str, document: object) -> Any:
        """Call a method; raises RuntimeError with what the site answered."""
        return await asyncio.to_thread(self.ask, name, document)

    async def publish(self, channel: str, value: object) -> None:
        """Publish a measurement."""
        await self.call(channel, value)

    def ask(self, name: str, document: object) -> Any:
        """Call a method, and wait."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        url = f"{self._url}/{name}"
        request = urllib.request.Request(url, json.dumps(document).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            said = json.loads(error.read() or b"{}")
            raise RuntimeError(f"{name}: {said.get('detail', error)}") from error
