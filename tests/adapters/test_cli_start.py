"""Commands begin quickly: people and scripts run many, and each one imports what it needs."""

import subprocess
import sys

HEAVY = (
    "adapters.store",
    "gateway.site",
    "policy.language",
    "pyoxigraph",
    "rich.progress",
    "starlette",
    "uvicorn",
)
"""What only some command needs; it imports that itself."""


def test_the_command_line_imports_no_server():
    code = f"import adapters.cli.run, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
