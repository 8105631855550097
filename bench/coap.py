"""The CoAP server beside libcoap's: ``make bench ARGS=coap``.

The same datagrams to both: GET of a value of 64 bytes (a channel's last one in Hilum, what was put
in libcoap), and PUT of one (an event). Hilum knows the caller as anonymous, decides, and counts; at
first it asks each client to show that answers arrive where it says it is (RFC 9175). Clients have
one request under way each. The servers take turns; figures are medians. What Hilum relays to an
HTTP service stands beside it, and so does OSCORE.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from bench import coap_secured, workload
from bench.asking import Run, run
from bench.coap_load import CON, GET, NON, POST, PUT, Client, Request, ask_once
from bench.hilum import Hilum
from bench.options import Options
from bench.peers import start_upstream
from bench.process import GATEWAY_CORE, LOAD_CORE, Process, find_program, free_port, on_core
from bench.results import Section, Target

LIBCOAP, HILUM, COMPILED = "libcoap", "Hilum", "Hilum, compiled"
KINDS = {CON: "CON", NON: "NON"}
CLIENTS = (16, 1)
VALUE = b'{"steps": 8421, "note": "' + b"x" * 37 + b'"}'
OBJECT = "Bench"
NAME = f"{OBJECT}/value"
REQUESTS = {"GET": Request(GET, NAME, answer=VALUE), "PUT": Request(PUT, NAME, VALUE, 0x44)}
RELAYED = Request(POST, f"{OBJECT}/relayed", workload.BODY, 0x44, workload.BODY)
PROTECTED = 9_600
"""Requests under OSCORE in one round: they are protected before it."""
LIMIT = 1.1
"""CPU of libcoap's, for each kind of message with 16 clients."""


class Server(NamedTuple):
    """A running CoAP server."""

    name: str
    process: Process
    port: int
    context: Path | None = None
    """The client's side of a security context."""


def start_libcoap(folder: Path, stack: ExitStack, *options: str) -> Server:
    """Start libcoap's server, which keeps what is put."""
    port = free_port()
    address = ("-A", "127.0.0.1", "-p", str(port))
    command = [find_program("coap-server-notls"), *address, "-d", "16", "-v", "2", *options]
    process = Process(LIBCOAP, command, GATEWAY_CORE, folder / "libcoap.log")
    stack.callback(process.stop)
    time.sleep(0.5)
    process.require_alive()
    return Server(LIBCOAP, process, port)


def start_hilum(folder: Path, name: str, upstream: int, stack: ExitStack) -> Server:
    """Start a site with everything on; anonymous clients and one security context may come in."""
    home = folder / name.replace(", ", "-")
    coap_secured.make_context(home / "state" / "oscore" / "bench", home / "client")
    site = Hilum(home, name, compiled=name == COMPILED)
    stack.callback(site.stop)
    methods = {"relayed": {"endpoints": [{"url": f"http://127.0.0.1:{upstream}/echo"}]}}
    objects = [{"name": OBJECT, "channels": {"value": {}}, "methods": methods}]
    site.register({"microservice": "Bench", "instance": "a", "objects": objects})
    subjects = [{"principal": "anonymous:coap"}, {"principal": coap_secured.PRINCIPAL}]
    site.guard(subjects, ["publish", "subscribe", "call"], [f"{OBJECT}/*"])
    return Server(name, site.process, site.coap_port, home / "client")


def put_once(server: Server) -> None:
    """Put a value, so that there is one; libcoap says that it is new."""
    ask_once(server.port, Request(PUT, NAME, VALUE, 0x41 if server.name == LIBCOAP else 0x44))


def alternate(
    servers: Sequence[Server], request: Request, kind: int, clients: int, options: Options
) -> dict[str, list[Run]]:
    """Ask the servers in turn, the other way round every second round."""
    runs: dict[str, list[Run]] = {server.name: [] for server in servers}
    for number in range(options.rounds):
        for server in servers if number % 2 else reversed(servers):
            asking = [Client(server.port, request, kind) for _ in range(clients)]
            runs[server.name].append(run(server.process, asking, options.seconds))
    return runs


def median(runs: Sequence[Run], what: str) -> float:
    """Return the median of one figure over runs."""
    return statistics.median(getattr(run, what) for run in runs)


def measure_requests(servers: Sequence[Server], options: Options, section: Section) -> None:
    """Measure both requests in both kinds of message, by 16 clients and by one."""
    rows = []
    names = [server.name for server in servers]
    for clients in CLIENTS:
        for what, request in REQUESTS.items():
            for kind, written in KINDS.items():
                runs = alternate(servers, request, kind, clients, options)
                title = f"{what} {written}, {clients} client{'s' if clients > 1 else ''}"
                cells = [cell(runs[name]) for name in names]
                cpu = {name: median(runs[name], "cpu") for name in names}
                ratios = {name: cpu[name] / cpu[LIBCOAP] for name in names[1:]}
                rows.append([title, *cells, *(f"{ratio:.2f}" for ratio in ratios.values())])
                if clients > 1:
                    section.targets += [
                        Target(f"{name}, {title}: CPU of libcoap", ratio, LIMIT, " x")
                        for name, ratio in ratios.items()
                    ]
    header = ["CPU µs per request", *names, *(f"{name}, of libcoap" for name in names[1:])]
    section.table(header, rows)


def measure_beside(servers: Sequence[Server], options: Options, section: Section) -> None:
    """Measure what libcoap's server does not do."""
    secured, relayed = [], []
    for server in servers:
        assert server.context is not None
        protecting = coap_secured.Secured(server.context, server.port, NAME)
        runs: tuple[list[Run], list[Run]] = ([], [])
        for _ in range(options.rounds):
            requests, each = protecting.requests(PROTECTED), PROTECTED // 16
            asking = [coap_secured.SecuredClient(server.port, requests, each) for _ in range(16)]
            runs[0].append(run(server.process, asking, options.seconds))
            calling = [Client(server.port, RELAYED, CON) for _ in range(16)]
            runs[1].append(run(server.process, calling, options.seconds))
        protecting.close()
        secured.append(cell(runs[0]))
        relayed.append(cell(runs[1]))
    rows = [["GET under OSCORE", *secured], ["POST, relayed to an HTTP service", *relayed]]
    header = ["CPU µs per request, CON, 16 clients", *(server.name for server in servers)]
    section.table(header, rows)


def cell(runs: Sequence[Run]) -> str:
    """Return a table's cell: CPU, and the rate or the time of a request."""
    p50, rate = median(runs, "p50"), median(runs, "rate")
    more = f"p50 {p50:.0f} µs" if p50 else f"{rate / 1e3:.0f} k/s"
    return f"{median(runs, 'cpu'):.1f} ({more})"


def libcoap_version() -> str:
    """Return what libcoap's server says of itself."""
    said = subprocess.run([find_program("coap-server-notls"), "-h"], capture_output=True, text=True)
    return (said.stdout + said.stderr).partition("server-notls v")[2].partition(" ")[0]


def measure(options: Options) -> Section:
    """Measure requests."""
    section = Section("coap", f"CoAP: requests beside libcoap {libcoap_version()}")
    names = [HILUM, COMPILED] if options.compiled else [HILUM]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, on_core(LOAD_CORE):
        folder = Path(name)
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        servers = [start_libcoap(folder, stack)]
        servers += [start_hilum(folder, name, upstream.port, stack) for name in names]
        for server in servers:
            put_once(server)
        measure_requests(servers, options.brief(), section)
        measure_beside(servers[1:], options.brief(), section)
    return section
