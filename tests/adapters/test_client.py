"""The command line's client against servers that are not what they should be."""

import contextlib
import http.server
import json
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.client import Client, Problem, Unreachable
from adapters.client.client import _problem
from gateway.message import Status
from tests.running import hilum


@contextlib.contextmanager
def serving(reply: bytes, status: int = 200, kind: str = "application/json", **fields: str):
    """Serve one reply to everybody; yields the URL and what was asked."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            asked.append((self.path, dict(self.headers), self.client_address))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(reply)))
            for name, value in fields.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(reply)

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("reply", [b"[1]", b"{", b"", b'"text"', b"[" * 100_000, b'{"other": 1}'])
@pytest.mark.parametrize("command", ["get", "registry list", "deadletter list", "token list"])
def test_what_is_no_gateway_is_told_without_a_traceback(reply, command):
    with serving(reply) as (url, _):
        done = hilum(*command.split(), "--url", url, "--token", "hlm_x")
    assert done.returncode == Status.PROVIDER_ERROR.wire.exit
    assert "is it a Hilum gateway" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"),
    [(404, Status.NOT_FOUND), (502, Status.PROVIDER_ERROR), (418, Status.BAD_REQUEST)],
)
def test_an_error_without_an_explanation_is_told_by_its_number(status, code):
    with serving(b"<html>", status, "text/html") as (url, _):
        done = hilum("call", "a/b", "--url", url)
    assert done.returncode == code.wire.exit
    assert f"HTTP {status}" in done.stderr


@given(
    st.integers(100, 999),
    st.binary(max_size=200)
    | st.builds(
        lambda v: json.dumps(v).encode(),
        st.recursive(
            st.none() | st.text(max_size=8) | st.integers(),
            lambda v: (
                st.lists(v, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["type", "detail", "problems", "near"]), v, max_size=4
                )
            ),
            max_leaves=8,
        ),
    ),
)
def test_any_problem_document_is_read(code, body):
    assert isinstance(_problem(code, body), Problem)


@pytest.mark.parametrize("problems", [[1, None, "x"], [{}], {}, "text", [{"line": "x", "hint": 1}]])
def test_strange_problems_are_printed_somehow(problems):
    document = {"type": "urn:hilum:problem:invalid", "detail": "no", "problems": problems}
    with serving(json.dumps(document).encode(), 422, "application/problem+json") as (url, _):
        done = hilum("call", "a/b", "--url", url)
    assert done.returncode == Status.INVALID.wire.exit
    assert done.stderr.startswith("error: ")


def test_a_connection_is_kept_in_a_with_block_only():
    with serving(b"{}") as (url, asked):
        client = Client(url)
        client.call("a")
        client.call("a")
        with client:
            client.call("a")
            client.call("a")
    ports = [address[1] for _, _, address in asked]
    assert len({*ports[:3]}) == 3
    assert ports[2] == ports[3]


def test_a_call_says_its_deadline_and_its_token():
    with serving(b"{}") as (url, asked):
        Client(url + "/", "hlm_t").call("ä b/c", b"1", timeout=1.5)
    path, fields, _ = asked[0]
    assert path == "/%C3%A4%20b/c"
    assert fields["Hilum-Timeout"] == "1500"
    assert fields["Authorization"] == "Bearer hlm_t"


def test_silence_ends_with_the_deadline(monkeypatch):
    monkeypatch.setattr("adapters.client.client.MARGIN", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = Client(f"http://127.0.0.1:{listening.getsockname()[1]}")
        with pytest.raises(Unreachable, match="did not answer in time") as problem:
            client.call("a", timeout=0.1)
    assert problem.value.status is Status.TIMEOUT


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}", "http://[::1]:{port}"])
def test_a_wrong_scheme_or_address_is_told(url):
    with serving(b"{}") as (plain, _):
        port = plain.rpartition(":")[2]
        with pytest.raises(Unreachable) as problem:
            Client(url.format(port=port)).call("a", timeout=1)
    assert problem.value.hint


def test_a_host_that_does_not_exist_is_told(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match=r"no host nothing\.invalid"):
        Client("http://nothing.invalid").call("a")
