"""The building example: 200 devices over three protocols, found by meaning; two sites that meet."""

import subprocess
import sys

from tests.running import environment
from tests.support import ROOT


def test_everything_is_found_by_what_it_means():
    done = subprocess.run(
        [sys.executable, "-m", "examples.building.run"],
        cwd=ROOT,
        env=environment(COLUMNS="120"),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 devices registered" in done.stdout
    assert "80 by MQTT, 80 by COAP, 40 by HTTP" in done.stdout
    assert "temperature channels on floor 2 that answer within 50 ms: 9" in done.stdout
    assert "climate sensors in the library: 120" in done.stdout
    assert "annex.example/garden/soil" in done.stdout
    assert done.stdout.endswith("every answer was right\n")
    assert "Traceback" not in done.stderr
