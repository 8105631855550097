"""The MQTT server beside mosquitto: ``make bench ARGS=mqtt``.

Both know 16 callers by passwords and ask an access list for each message. Payloads have 64 bytes.
Each scenario runs in MQTT 3.1.1 and 5, and the servers take turns; figures are medians. One core
for the server, the other for the load, which never has more than a window of messages under way.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench.brokers import (
    SESSIONS,
    TOPICS,
    Broker,
    mosquitto_version,
    start_hilum,
    start_mosquitto,
)
from bench.mqtt_load import Run, Scenario, Traffic
from bench.mqtt_wire import Client
from bench.options import Options
from bench.process import LOAD_CORE, on_core
from bench.results import Section, Target

MOSQUITTO, HILUM, COMPILED = "mosquitto", "Hilum", "Hilum, compiled"
VERSIONS = {4: "3.1.1", 5: "5"}
SCENARIOS = (
    Scenario("1→1, QoS 0, deep queue", 1, 1, 0, burst=200, window=2_000, limit=0.3),
    Scenario("1→1, QoS 0, one in flight", 1, 1, 0, burst=1, window=1),
    Scenario("10→1, QoS 0", 10, 1, 0, burst=1, window=200, limit=0.7),
    Scenario("1→100, QoS 0", 1, 100, 0, burst=50, window=200, limit=0.3),
    Scenario("1→1, QoS 1", 1, 1, 1, burst=100, window=500, limit=0.5),
    Scenario("10→1, QoS 1", 10, 1, 1, burst=1, window=200, limit=0.5),
    Scenario("1→100, QoS 1", 1, 100, 1, burst=50, window=200, limit=0.5),
)
SLOWER, IDLE = 1.1, 12.0
"""p50 of mosquitto's with one message in flight; kB of an idle session."""
_WARM_UP = 0.3
CLOUDEVENTS = (
    "To clients of MQTT 5 Hilum sends each event with its CloudEvents attributes, 209 bytes against"
    " mosquitto's 78. Hilum keeps the last 1,000 events of each channel, mosquitto none."
)


def run(broker: Broker, scenario: Scenario, version: int, seconds: float) -> Run:
    """Run a scenario once, with new connections."""
    with ExitStack() as stack:
        topic = TOPICS[SCENARIOS.index(scenario)]
        traffic = Traffic(broker.port, broker.logins, topic, version, scenario, stack)
        traffic.run(broker.process, _WARM_UP)
        return traffic.run(broker.process, seconds)


def alternate(
    brokers: Sequence[Broker], scenario: Scenario, version: int, options: Options
) -> dict[str, list[Run]]:
    """Run a scenario on the servers in turn, the other way round every second round."""
    runs: dict[str, list[Run]] = {broker.name: [] for broker in brokers}
    for number in range(options.rounds):
        for broker in brokers if number % 2 else reversed(brokers):
            runs[broker.name].append(run(broker, scenario, version, options.seconds))
    return runs


def median(runs: Sequence[Run], what: str) -> float:
    """Return the median of one figure over runs."""
    return statistics.median(getattr(run, what) for run in runs)


def measure_scenario(
    brokers: Sequence[Broker], scenario: Scenario, version: int, options: Options, section: Section
) -> list[str]:
    """Measure a scenario; return its row of the table."""
    runs = alternate(brokers, scenario, version, options)
    row = [scenario.title]
    for broker in brokers:
        cpu, rate, p50 = (median(runs[broker.name], what) for what in ("cpu", "rate", "p50"))
        rate_and_p50 = f"{rate / 1e3:,.0f} k/s" + (f", p50 {p50:.0f} µs" if p50 else "")
        row.append(f"{cpu:.2f} ({rate_and_p50})")
    what = f"MQTT {VERSIONS[version]}, {scenario.title}"
    theirs = runs[MOSQUITTO]
    for broker in brokers[1:]:
        ours = runs[broker.name]
        ratio = median(ours, "cpu") / median(theirs, "cpu")
        row.append(f"{ratio:.2f}")
        if scenario.limit:
            found = Target(f"{broker.name}, {what}: CPU of mosquitto", ratio, scenario.limit, " x")
        else:
            slower = median(ours, "p50") / median(theirs, "p50")
            found = Target(f"{broker.name}, {what}: p50 of mosquitto", slower, SLOWER, " x")
        section.targets.append(found)
    return row


def idle(start: Callable[[Path], Broker], version: int, folder: Path) -> tuple[float, float]:
    """Return kB of a connected session, and of one that has subscribed, among SESSIONS of them."""
    broker = start(folder)
    clients: list[Client] = []
    try:
        Client(broker.port, version, "first", broker.logins[0]).close()
        empty = _settled(broker)
        for number in range(SESSIONS):
            login = broker.logins[number % len(broker.logins)]
            clients.append(Client(broker.port, version, f"idle-{number:05d}", login))
        connected = _settled(broker)
        for number, client in enumerate(clients):
            client.subscribe(TOPICS[number % len(TOPICS)], 1, pause=0.0)
        subscribed = _settled(broker)
    finally:
        for client in clients:
            client.close()
        broker.stop()
    return (connected - empty) / SESSIONS / 1e3, (subscribed - empty) / SESSIONS / 1e3


def _settled(broker: Broker) -> int:
    time.sleep(1.5)
    return broker.process.rss()


def measure_idle(
    starts: dict[str, Callable[[Path], Broker]], folder: Path, section: Section
) -> None:
    """Measure what sessions cost that do nothing."""
    rows = []
    for version, written in VERSIONS.items():
        for name, start in starts.items():
            connected, subscribed = idle(start, version, folder / f"idle-{name}-{version}")
            rows.append([f"{name}, MQTT {written}", f"{connected:.1f}", f"{subscribed:.1f}"])
            if name != MOSQUITTO:
                what = f"{name}, MQTT {written}: an idle session"
                section.targets.append(Target(what, connected, IDLE, " kB"))
    header = [f"kB of RSS for each of {SESSIONS:,} sessions", "connected", "with a subscription"]
    section.table(header, rows)


def measure(options: Options) -> Section:
    """Measure deliveries and idle sessions."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    section = Section("mqtt", f"MQTT: deliveries beside mosquitto {mosquitto_version()}")
    starts: dict[str, Callable[[Path], Broker]] = {MOSQUITTO: start_mosquitto, HILUM: start_hilum}
    if options.compiled:
        starts[COMPILED] = partial(start_hilum, name=COMPILED)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack, on_core(LOAD_CORE):
        folder = Path(name)
        brokers = []
        for each, start in starts.items():
            brokers.append(start(folder / each))
            stack.callback(brokers[-1].stop)
        for version, written in VERSIONS.items():
            rows = [
                measure_scenario(brokers, scenario, version, options.brief(), section)
                for scenario in SCENARIOS
            ]
            names = [broker.name for broker in brokers]
            header = [f"MQTT {written}, CPU µs per delivery", *names]
            section.table([*header, *(f"{name}, of mosquitto" for name in names[1:])], rows)
        stack.close()
        section.notes.append(CLOUDEVENTS)
        measure_idle(starts, folder, section)
    return section
