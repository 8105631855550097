"""Hilum as it is run: ``hilum serve`` in a process of its own, set up through its own methods."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.client import Client
from bench import workload
from bench.process import GATEWAY_CORE, Process

ROOT = Path(__file__).resolve().parent.parent
COMPILED = ROOT / "build" / "compiled"
"""Where ``.ci/compile`` leaves the tree with its hot modules compiled."""
_CONFIG = """
[limits]
requests = 1000000000

[upstream]
connections = 256

[coap]
anonymous = true

[log]
level = "error"
"""
_START_SECONDS = 120.0
RULES = 1_000
BATCH = 200


class Hilum:
    """A running site; ``started`` is how many seconds it took until it was ready."""

    def __init__(
        self, folder: Path, name: str = "Hilum", *, compiled: bool = False, more: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "site.toml"
        config.write_text(_CONFIG + more)
        tree = COMPILED if compiled else ROOT
        command = [
            *("/usr/bin/env", "-C", str(tree), f"PYTHONPATH={tree}"),
            *(sys.executable, "-m", "gateway", "serve", "--output", "json"),
            *("--state", str(folder / "state"), "--config", str(config)),
            *("--http", ":0", "--control", ":0", "--mqtt", ":0", "--coap", ":0"),
        ]
        begin = time.monotonic()
        self.process = Process(name, command, GATEWAY_CORE, folder / "log")
        ready = self._ready()
        self.started = time.monotonic() - begin
        self.port = urlsplit(ready["http"]).port or 0
        self.mqtt_port = urlsplit(ready.get("mqtt", "")).port or 0
        self.coap_port = urlsplit(ready.get("coap", "")).port or 0
        self.url, self.control = ready["http"], ready["control"]
        self.token = Path(ready["token_file"]).read_text().strip()
        self.client = Client(self.url, self.token)

    def stop(self) -> None:
        """Stop the site; its state stays."""
        self.client.close()
        self.process.stop(40.0)

    def issue(self, principal: str, kind: str) -> str:
        """Return a token for a principal."""
        asked = {"principal": principal, "kind": kind, "ttl": 3600}
        return str(self.client.ask("token/issue", asked)["token"])

    def apply(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        """Apply a policy."""
        self.client.ask("policy/apply", _manifest(kind, name, spec))

    def guard(self, subjects: list[dict[str, str]], actions: list[str], names: list[str]) -> None:
        """Have everything on: 1,000 rules with conditions, limits by principal, breakers.

        One of the rules lets ``subjects`` do ``actions`` with ``names``.
        """
        found: list[tuple[str, str, dict[str, Any]]] = []
        for number in range(RULES):
            spec = {
                "effect": "allow",
                "subjects": subjects,
                "actions": actions,
                "names": names if number == RULES // 2 else [f"building/o{number}/**"],
                "when": "environment.threat < 7",
            }
            found.append(("AccessPolicy", f"rule{number}", spec))
        plenty = {"rate": 1e9, "burst": 1e9}
        limits = {"names": names, "per": ["principal"], "messages": plenty, "bytes": plenty}
        found.append(("QualityPolicy", "callers", limits))
        found.append(("QualityPolicy", "breaker", {"names": ["**"], "breaker": {"failures": 5}}))
        documents = [_manifest(*one) for one in found]
        for begin in range(0, len(documents), BATCH):
            self.client.ask("policy/apply", documents[begin : begin + BATCH])

    def callers(self) -> list[str]:
        """Allow the workload's callers to call everything; return their tokens."""
        self.apply(
            "AccessPolicy",
            "callers",
            {
                "effect": "allow",
                "subjects": [{"kind": workload.CALLER_KIND}],
                "actions": ["call"],
                "names": ["**"],
            },
        )
        return [
            self.issue(workload.caller(number), workload.CALLER_KIND)
            for number in range(workload.CALLERS)
        ]

    def register(self, document: Mapping[str, Any]) -> None:
        """Register a microservice."""
        head = {"apiVersion": "hilum/v1", "version": "1.0.0", "lease": 3600}
        self.client.ask("registry/register", {**head, **document})

    def _ready(self) -> dict[str, str]:
        """Return what the site says on its first line, as soon as it serves."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            self.process.require_alive()
            for line in self.process.said().splitlines():
                with contextlib.suppress(ValueError):
                    return dict(json.loads(line))
            time.sleep(0.005)
        raise RuntimeError(f"the site did not start: {self.process.said()}")


def bench_service(upstream: int) -> dict[str, Any]:
    """Return the manifest of the workload's microservice, provided by one upstream port."""
    base = f"http://127.0.0.1:{upstream}"
    methods: dict[str, Any] = {
        workload.method(number): {"endpoints": [{"url": f"{base}/echo/{number}"}]}
        for number in range(workload.METHODS)
    }
    fresh = {
        workload.method(number): {"endpoints": [{"url": f"{base}/{workload.FRESH}/{number}"}]}
        for number in range(workload.METHODS)
    }
    methods["sink"] = {"endpoints": [{"url": f"{base}/sink/bench"}]}
    for size in workload.SIZES:
        endpoint = {"url": f"{base}/files/{size}", "method": "GET"}
        methods[f"down{size}"] = {"safe": True, "endpoints": [endpoint]}
    return {
        "microservice": "Bench",
        "instance": "a",
        "objects": [
            {"name": workload.OBJECT, "methods": methods},
            {"name": workload.FRESH, "methods": fresh},
        ],
    }


def compiled_tree() -> bool:
    """Return whether the compiled form has been built."""
    return os.path.exists(COMPILED / ".stamp")


def _manifest(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
