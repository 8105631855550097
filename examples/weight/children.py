"""The demo's processes: each in a group of its own, with a log, and none outlives the demo."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 8.0
"""Seconds between asking a process to end and ending it."""


class Failed(Exception):
    """Something that the demo cannot go on without did not happen."""


class Child:
    """One process and its log."""

    def __init__(self, name: str, log: Path, arguments: tuple[str, ...]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str, seconds: float = 30.0) -> str:
        """Return the first line of the log that begins with a text."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended = self.process.poll()
            for line in self.log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith(text) and line.endswith("\n"):
                    return line.strip()
            if ended is not None:
                break
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise Failed(f"{self.name} never said {text!r}; its log {self.log} ends with\n{tail}")

    def signal(self, number: int) -> None:
        """Send a signal to the process and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Children:
    """All processes of the demo."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = logs
        self.all: dict[str, Child] = {}

    def start(self, name: str, *arguments: str) -> Child:
        """Start a Python module."""
        child = self.all[name] = Child(name, self.logs / f"{name}.log", arguments)
        return child

    def ended(self) -> list[str]:
        """Return those that ended by themselves; what was killed did not."""
        fine = (None, -signal.SIGKILL)
        return [child.name for child in self.all.values() if child.process.poll() not in fine]

    def stop(self) -> bool:
        """End all of them, the site last; returns whether they all ended when they were asked."""
        gently = True
        for child in reversed(self.all.values()):
            if child.process.poll() is None:
                child.signal(signal.SIGTERM)
                try:
                    child.process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    gently = False
            child.signal(signal.SIGKILL)  # Whatever else is left of its group.
            child.process.wait()
        return gently
