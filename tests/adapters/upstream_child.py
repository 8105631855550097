"""A service in a process of its own: answers with its name, until it is killed.

``python upstream_child.py NAME``: prints its port. ``/sick`` makes its health check fail, ``/well``
succeed again; ``/break`` makes calls fail with 500.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65_536
    disable_nagle_algorithm = True
    health = 200
    code = 200

    def do_GET(self) -> None:
        kind = type(self)
        if self.path == "/health":
            self._answer(kind.health)
            return
        if self.path in ("/sick", "/well"):
            kind.health = 503 if self.path == "/sick" else 204
        if self.path in ("/break", "/mend"):
            kind.code = 500 if self.path == "/break" else 200
        self._answer(200)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(type(self).code)

    def _answer(self, code: int) -> None:
        body = b"" if code == 204 else sys.argv[1].encode()
        self.send_response(code)
        if code != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
