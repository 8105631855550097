"""What attacks on the registry share: settings, a registrant, descriptions, traps."""

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.conformance.wot.things import TD_1_1, DirectoryClient, new_id, thing
from tests.running import Gateway

CONTEXT = [TD_1_1, {"hilum": "https://w3id.org/hilum#"}]
CONFIG = """
[identity]
failures = 1000000
[mqtt]
websocket_port = 0
[coap]
anonymous = true
tcp = true
[directory]
enabled = true
port = 0
"""


def registrant(site: Gateway, who: str) -> DirectoryClient:
    """Somebody who may register below his name, look at everything there, and search."""
    names = f"{who}/** things/** endpoints/** $site/registry/*"
    actions = "call register bind describe create destroy subscribe"
    site.allow(who, {"principal": f"user:{who}"}, actions, names)
    return DirectoryClient(site, site.token_for(f"user:{who}", "user"))


def named(name: str, base: str = "http://127.0.0.1:9", **more: object) -> dict[str, object]:
    return thing(new_id(), base, **{"@context": CONTEXT, "hilum:name": name, **more})


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


class Trap(ThreadingHTTPServer):
    """A listener that should not be reached, or answers with a redirect."""

    def __init__(self, status: int = 200, location: str = "") -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, dict(self.headers)))
                self.send_response(status)
                if location:
                    self.send_header("Location", location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_PUT = do_GET  # noqa: N815 (the library calls them so)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> "Trap":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
