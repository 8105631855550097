"""The bootstrapping example, over both protocols: every step answers as it should."""

import subprocess
import sys

import pytest

from tests.running import environment
from tests.support import ROOT

DENIED = {"mqtt": "Not authorized", "coap": "4.03 Forbidden"}
STEPS = [
    (
        "a device that nobody knows connects",
        {"mqtt": "Not authorized", "coap": "4.01 Unauthorized"},
    ),
    (
        "it shows its claim token, which is good for a claim only",
        {"mqtt": "Success", "coap": "4.03 Forbidden"},
    ),
    ("it tries to publish with that", DENIED),
    ("it claims a credential of its own", {"mqtt": "secret", "coap": "oscore"}),
    ("it authenticates", {"mqtt": "Success", "coap": "ready"}),
    ("it publishes, but nobody has given it the right", DENIED),
    ("the controller authorises it; it publishes", {"mqtt": "Success", "coap": "2.04 Changed"}),
    ("the context broker has", dict.fromkeys(DENIED, "{'celsius': 21.5}")),
    ("the right is taken back; it publishes", DENIED),
    ("its credential is revoked; it is cut off", dict.fromkeys(DENIED, "yes")),
]


@pytest.mark.parametrize("over", ["mqtt", "coap"])
def test_a_device_is_let_in_step_by_step_and_put_out_again(over):
    done = subprocess.run(
        [sys.executable, "-m", "examples.bootstrapping.run", "--over", over],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = [f"{n}. {what}: {said[over]}" for n, (what, said) in enumerate(STEPS, 1)]
    assert done.stdout.splitlines() == expected
