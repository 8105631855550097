"""Calls from one protocol to another: ``make bench ARGS=cross``.

16 callers with one call under way each send 200 bytes and get 200 bytes back. The hops
within one protocol take turns with those between two; figures are medians. What a crossing costs
is set against half of the sum of the two single-protocol hops, of which each has one side of it.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import coap_load
from bench.asking import Client, Helper, Run, run
from bench.coap import start_libcoap
from bench.cross_load import HttpCaller, MqttCaller, MqttProvider
from bench.hilum import Hilum
from bench.mqtt_wire import Client as MqttClient
from bench.options import Options
from bench.peers import start_upstream
from bench.process import LOAD_CORE, on_core
from bench.results import Section
from bench.workload import BODY

CALLERS = 16
HOPS = (
    ("HTTP", "HTTP"),
    ("MQTT 5", "MQTT 5"),
    ("CoAP", "CoAP"),
    ("MQTT 5", "HTTP"),
    ("CoAP", "MQTT 5"),
    ("CoAP", "HTTP"),
    ("HTTP", "MQTT 5"),
    ("HTTP", "CoAP"),
    ("MQTT 5", "CoAP"),
)
Hop = tuple[str, str]
"""The protocols of the caller and of the provider."""
OBJECT = "Bench"
METHODS = {"HTTP": f"{OBJECT}/http", "MQTT 5": f"{OBJECT}/mqtt", "CoAP": f"{OBJECT}/coap"}


class Crossing:
    """A site with a provider of each protocol."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        upstream = start_upstream(folder)
        stack.callback(upstream.stop)
        libcoap = start_libcoap(folder, stack, "-e")  # It answers with what it was sent.
        coap_load.ask_once(
            libcoap.port, coap_load.Request(coap_load.PUT, "answer", BODY, expected=0x41)
        )
        self.site = site = Hilum(folder / "site")
        stack.callback(site.stop)
        endpoints = {
            "http": [{"url": f"http://127.0.0.1:{upstream.port}/echo"}],
            "mqtt": [],
            "coap": [{"url": f"coap://127.0.0.1:{libcoap.port}/answer"}],
        }
        methods = {name: {"endpoints": found} for name, found in endpoints.items()}
        objects = [{"name": OBJECT, "methods": methods}]
        site.register({"microservice": OBJECT, "instance": "a", "objects": objects})
        self._tokens = site.callers()
        for subject, action in (
            ({"principal": "anonymous:coap"}, "call"),
            ({"principal": "site:provider"}, "bind"),
        ):
            spec = {"effect": "allow", "subjects": [subject], "actions": [action]}
            site.apply("AccessPolicy", action, {**spec, "names": [f"{OBJECT}/*"]})
        login = ("provider", site.issue("site:provider", "service"))
        client = MqttClient(site.mqtt_port, 5, "provider", login)
        stack.callback(client.close)
        self._provider = MqttProvider(client, METHODS["MQTT 5"], BODY)
        self._callers: dict[str, Callable[[str, int], Client]] = {
            "HTTP": self._http,
            "MQTT 5": self._mqtt,
            "CoAP": self._coap,
        }

    def run(self, hop: Hop, seconds: float) -> Run:
        """Call over a hop for a while."""
        caller, provider = hop
        make = self._callers[caller]
        clients = [make(METHODS[provider], number) for number in range(CALLERS)]
        helpers: Sequence[Helper] = [self._provider] if provider == "MQTT 5" else []
        return run(self.site.process, clients, seconds, helpers)

    def _http(self, method: str, number: int) -> Client:
        head = (
            f"POST /{method} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self._tokens[number]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
        )
        return HttpCaller(self.site.port, head.encode() + BODY)

    def _mqtt(self, method: str, number: int) -> Client:
        login = (f"caller{number}", self._tokens[number])
        client = MqttClient(self.site.mqtt_port, 5, f"caller{number}", login)
        return MqttCaller(client, method, BODY)

    def _coap(self, method: str, _: int) -> Client:
        request = coap_load.Request(coap_load.POST, method, BODY, 0x44, BODY)
        return coap_load.Client(self.site.coap_port, request, coap_load.CON)


def alternate(crossing: Crossing, options: Options) -> dict[Hop, list[Run]]:
    """Call over all hops in turn, the other way round every second round."""
    runs: dict[Hop, list[Run]] = {hop: [] for hop in HOPS}
    for number in range(options.rounds):
        for hop in HOPS if number % 2 else reversed(HOPS):
            runs[hop].append(crossing.run(hop, options.seconds))
    return runs


def measure(options: Options) -> Section:
    """Measure all hops."""
    section = Section("cross", "Calls from one protocol to another")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, on_core(LOAD_CORE):
        runs = alternate(Crossing(Path(name), stack), options.brief())
    cpu = {hop: statistics.median(run.cpu for run in found) for hop, found in runs.items()}
    rate = {hop: statistics.median(run.rate for run in found) for hop, found in runs.items()}
    rows = []
    for hop in HOPS:
        caller, provider = hop
        both = cpu[caller, caller] + cpu[provider, provider]
        crossing = caller != provider
        row = [f"{caller} → {provider}", f"{cpu[hop]:.1f}", f"{rate[hop] / 1e3:.1f}"]
        row += [f"{both:.1f}", f"{cpu[hop] / both:.2f}"] if crossing else ["", ""]
        row.append(f"{cpu[hop] - both / 2:+.1f}" if crossing else "")
        rows.append(row)
    header = ["c = 16", "CPU µs per call", "thousand calls/s", "sum of the single-protocol hops"]
    section.table([*header, "of the sum", "beyond half of it, µs"], rows)
    return section
