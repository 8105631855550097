"""Run the measurements: ``make bench`` or ``python -m bench.run [NAME …] [--quick] [--compiled]``.

Each prints its tables and puts them into bench/RESULTS.md. The machine should have nothing else to
do: these are ratios of one run, but a neighbour disturbs the parts unequally.
"""

import argparse
import importlib
import subprocess
import sys
import time

from bench import programs
from bench.hilum import ROOT
from bench.options import QUICK, Options
from bench.process import MissingProgram
from bench.results import Section, write

MEASUREMENTS = {
    "relay_micro": "our own Python of a relayed call, without sockets",
    "relay": "the relay beside nginx and Envoy",
    "guarded": "the relay with everything on: JWT, conditions, limits, breakers, traces",
    "decisions": "access decisions beside Cedar and casbin",
    "discovery": "typed discovery beside pyoxigraph and rdflib; registering descriptions",
    "catalog": "100,000 bindings: start, memory, changes, relay",
    "mqtt": "MQTT deliveries and idle sessions beside mosquitto",
    "coap": "CoAP requests beside libcoap's server, under OSCORE, and relayed",
    "cross": "calls from one protocol to another",
    "registry": "the index of what is registered beside rdflib and pyoxigraph on disk",
    "search": "JSONPath over 100,000 descriptions, and calls while a SPARQL query goes wild",
    "revocation": "from a revocation to the last message, with 10,000 live sessions",
    "reconnect": "10,000 MQTT devices that come back in one moment",
    "storm": "50 binding changes a second on names that carry 5,000 requests a second",
}
"""Module in this folder -> what it measures. Each has ``measure(options) -> Section``."""
NAMES = {**MEASUREMENTS, **{name: each.what for name, each in programs.PROGRAMS.items()}}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    listed = ", ".join(f"{name} ({what})" for name, what in NAMES.items())
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {listed}")
    parser.add_argument("--quick", action="store_true", help="short rounds; RESULTS.md stays")
    parser.add_argument(
        "--compiled", action="store_true", help="compile the hot modules, and measure that form too"
    )
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in NAMES]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(NAMES)}")
    return asked


def measure(name: str, options: Options) -> Section:
    """Run one measurement."""
    if name in programs.PROGRAMS:
        return programs.measure(name, options)
    section: Section = importlib.import_module(f"bench.{name}").measure(options)
    return section


def main() -> None:
    asked = arguments()
    options = QUICK if asked.quick else Options()
    if asked.compiled:
        subprocess.run([ROOT / ".ci" / "compile"], check=True)
        options = options.with_compiled()
    missed = 0
    for name in asked.names or NAMES:
        begin = time.monotonic()
        try:
            section = measure(name, options)
        except MissingProgram as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr)
            continue
        print(f"{section.text()}\n\n({name}: {time.monotonic() - begin:.0f} s)\n", flush=True)
        missed += sum(not target.met for target in section.targets)
        if not asked.quick:
            flags = " --compiled" if asked.compiled else ""
            write(section, f"python -m bench.run {name}{flags}")
    print(f"{missed} targets missed" if missed else "all targets met")


if __name__ == "__main__":
    main()
