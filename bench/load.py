"""Load from wrk: many different requests in turn, errors counted, latencies as percentiles."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import LOAD_CORE, Process, find_program, pinned

_REQUESTS = """
local heads = {%s}
local body = %s
local n = 0
local last = #heads
local requests = {}
function init(args)
  for i = 1, last do requests[i] = heads[i] .. body end
end
function request()
  n = n + 1
  if n > last then n = 1 end
  return requests[n]
end
"""
_FRESH = """
local heads = {%s}
local body = %s
local n = 0
function request()
  n = n + 1
  local trace = string.format("traceparent: 00-%%032x-%%016x-00\\r\\n\\r\\n", n, n)
  return heads[n %% #heads + 1] .. trace .. body
end
"""
_DONE = """
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout, e.status, latency:percentile(50)))
  io.write(string.format("TAIL %d\\n", latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of wrk: times in microseconds, ``cpu`` the gateway's per request."""

    requests: int
    rate: float
    p50: float
    p99: float
    failed: int
    cpu: float


class Load:
    """Load for one gateway: a wrk script in a file, which makes the requests."""

    def __init__(self, path: Path, script: str) -> None:
        self._path = path
        path.write_text(script + _DONE)

    @classmethod
    def of(cls, path: Path, heads: Sequence[bytes], body: bytes) -> "Load":
        """Return load with these requests in turn, all of one payload."""
        listed = ", ".join(lua(head) for head in heads)
        # A large payload stands in the script once, and is repeated there.
        text = f'string.rep("x", {len(body)})' if body == b"x" * len(body) else lua(body)
        return cls(path, _REQUESTS % (listed, text))

    @classmethod
    def fresh(cls, path: Path, heads: Sequence[bytes], body: bytes) -> "Load":
        """Return load with these requests in turn, each with a ``traceparent`` of its own."""
        listed = ", ".join(lua(head.removesuffix(b"\r\n")) for head in heads)
        return cls(path, _FRESH % (listed, lua(body)))

    def run(self, gateway: Process, port: int, connections: int, seconds: int) -> Run:
        """Load a gateway; raises RuntimeError when wrk says something else than expected."""
        before = gateway.cpu()
        command = [
            find_program("wrk"),
            *("-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(self._path)),
            f"http://127.0.0.1:{port}/",
        ]
        done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True)
        spent = gateway.cpu() - before
        result = re.search(r"RESULT (\d+) (\d+) (\d+) (\d+) (\d+)\nTAIL (\d+)", done.stdout)
        if result is None:
            raise RuntimeError(f"wrk: {done.stdout} {done.stderr} {gateway.said()[-1000:]}")
        requests, micros, broken, wrong, p50, p99 = map(int, result.groups())
        if not requests:
            raise RuntimeError(f"{gateway.name} answered nothing: {gateway.said()[-1000:]}")
        rate = requests / micros * 1e6
        return Run(requests, rate, p50, p99, broken + wrong, spent / requests * 1e6)


def lua(data: bytes) -> str:
    """Return bytes as a string of Lua."""
    escaped = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03d}" for b in data)
    return f'"{escaped}"'
