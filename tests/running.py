"""A real site: ``hilum serve`` in a process of its own, on ports that the system chooses.

    def test_something(running_site):
        token = running_site.token_for("service:weather")
        running_site.register({"microservice": "Weather", …}, token)
        answer = running_site.client().call("weather/now")

The fixture ``running_site`` is shared by a worker's tests: use names of your own. A test that
stops or kills a site makes its own: ``with Gateway(tmp_path) as site: …``.
"""

import contextlib
import http.client
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import urlsplit

from adapters.cli import main
from adapters.client import Client
from tests.support import ROOT

START_SECONDS = 30.0
STOP_SECONDS = 40.0


class HttpReply(NamedTuple):
    """An HTTP response."""

    status: int
    fields: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the payload, which must be JSON."""
        return json.loads(self.body)


class Gateway:
    """One site's process and its state; ``start`` again takes the same ports and state.

    ``under`` is a program that runs it, with arguments, such as strace.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        config: str = "",
        control: str = "127.0.0.1:0",
        under: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.log = directory / "site.log"
        self.url = self.control = self.token = ""
        self.mqtt = self.mqtt_websocket = self.coap = ""
        self.ready: dict[str, Any] = {}
        """What it said when it was ready: its addresses by what they are for."""
        self.process: subprocess.Popen[bytes] | None = None
        self._options = list(options)
        self._control = control
        self._under = under
        if config:
            (directory / "site.toml").write_text(config)
            self._options += ["--config", str(directory / "site.toml")]

    def __enter__(self) -> "Gateway":
        return self if self.process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> "Gateway":
        """Start the process and wait until the site is ready."""
        http = urlsplit(self.url).netloc or "127.0.0.1:0"
        control = urlsplit(self.control).netloc or self._control
        command = [*self._under, *HILUM, "serve", "--output", "json", "--state", str(self.state)]
        command += [*self._options, "--http", http, "--control", control]
        for option, url in (("--mqtt", self.mqtt), ("--coap", self.coap)):
            if option not in self._options:
                command += [option, urlsplit(url).netloc or "127.0.0.1:0"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=log
            )
        ready = self.ready = self._first_line()
        self.url, self.control = ready["http"], ready["control"]
        self.mqtt, self.coap = ready.get("mqtt", ""), ready.get("coap", "")
        self.mqtt_websocket = ready.get("mqtt_websocket", "")
        self.token = Path(ready["token_file"]).read_text().strip()
        return self

    def stop(self) -> int:
        """Ask the process to end, and return its exit code; raises when it has to be killed."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the process as a power failure would (but for the page cache)."""
        self._end(signal.SIGKILL)

    def restart(self) -> "Gateway":
        """Stop, if it runs, and start on the same state and ports."""
        if self.process is not None:
            self.stop()
        return self.start()

    def client(self, token: str | None = None) -> Client:
        """Return a client that presents a token, the administrator's unless said otherwise."""
        return Client(self.url, self.token if token is None else token)

    def ask(self, method: str, document: Mapping[str, Any] | None = None) -> Any:
        """Call one of the site's own methods as the administrator."""
        return self.client().ask(method, document or {})

    def token_for(self, principal: str, kind: str = "service", ttl: int = 3600) -> str:
        """Issue a token."""
        asked = {"principal": principal, "kind": kind, "ttl": ttl}
        return str(self.ask("token/issue", asked)["token"])

    def register(self, manifest: Mapping[str, Any], token: str | None = None) -> Any:
        """Register a microservice, as the administrator unless a token is given."""
        document = {"apiVersion": "hilum/v1", "version": "1.0.0", "lease": 3600, **manifest}
        return self.client(token).ask("registry/register", document)

    def apply(self, manifests: str) -> Any:
        """Apply policies, written as YAML or JSON."""
        client = self.client()
        return client.document(
            client.call("$site/policy/apply", manifests.encode(), "application/yaml")
        )

    def allow(self, name: str, who: Mapping[str, str], actions: str, names: str) -> Any:
        """Apply an AccessPolicy; ``actions`` and ``names`` are separated by spaces."""
        spec = {
            "effect": "allow",
            "subjects": [dict(who)],
            "actions": actions.split(),
            "names": names.split(),
        }
        manifest = {
            "apiVersion": "hilum/v1",
            "kind": "AccessPolicy",
            "metadata": {"name": name},
            "spec": spec,
        }
        return self.apply(json.dumps(manifest))

    def http(
        self,
        verb: str,
        path: str,
        body: bytes | str | None = None,
        *,
        token: str | None = None,
        control: bool = False,
        **fields: str,
    ) -> HttpReply:
        """Send a plain HTTP request, with the administrator's token unless it is ``""``.

        Fields are written as arguments: ``content_type="text/plain"``.
        """
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        token = self.token if token is None else token
        if token:
            headers["authorization"] = f"Bearer {token}"
        return request(self.control if control else self.url, verb, path, body, headers)

    def cli(
        self, *arguments: str, stdin: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``hilum`` with arguments against this site, within this process."""
        return hilum(
            *arguments,
            stdin=stdin,
            **{"HILUM_URL": self.url, "HILUM_TOKEN": self.token, **variables},
        )

    def logged(self) -> str:
        """Return what the process said on standard error so far."""
        return self.log.read_text()

    def _first_line(self) -> Any:
        assert self.process is not None
        assert self.process.stdout is not None
        line, end = b"", time.monotonic() + START_SECONDS
        while not line.endswith(b"\n") and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                part = os.read(self.process.stdout.fileno(), 4096)
                if not part:
                    break
                line += part
        try:
            return json.loads(line)
        except ValueError:
            self.kill()
            raise AssertionError(f"the site did not start:\n{self.logged()}") from None

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"the site did not stop:\n{self.logged()}") from None
        finally:
            if process.stdout is not None:
                process.stdout.close()


def hilum(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``hilum`` within this process: the same as ``cli``, and much sooner."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    wrapped = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    with (
        mock.patch.dict(os.environ, environment(**variables), clear=True),
        mock.patch.object(sys, "stdin", wrapped),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    said, errors = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(arguments, code, said, errors)


NOWHERE = "/nonexistent"
HILUM = (sys.executable, "-m", "gateway")


def environment(**variables: str) -> dict[str, str]:
    """Return variables for a program of ours: none of the developer's own settings."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("HILUM_") and k != "FORCE_COLOR"
    }
    own = {"TERM": "dumb", "COLUMNS": "100", "PYTHONPATH": str(ROOT), "HILUM_STATE": NOWHERE}
    return {**kept, **own, **variables}


def cli(*arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``hilum`` as a program."""
    return subprocess.run(
        [*HILUM, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def request(
    url: str, verb: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] = {}
) -> HttpReply:
    """Send one HTTP request."""
    with contextlib.closing(
        http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    ) as connection:
        connection.request(verb, path, body, dict(headers))
        response = connection.getresponse()
        return HttpReply(response.status, response.headers, response.read())


class Service:
    """A microservice's own HTTP server: answers with what it got, and keeps it in ``seen``."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.status = 200
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                service.seen.append((self.path, body))
                self.send_response(service.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "Service":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
