"""Runs the steps of a document in one real shell, in a directory of its own."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.house.documents import DocumentError, Ports, Step, matches
from tests.support import ROOT

SECONDS = 100
NOT_SHOWN = {".git", ".venv"}

# A step's output is copied when it ends, because what it left running goes on writing.
PROLOGUE = "set -e\nat={directory}\n"
STEP = "source $at/{n}.sh >$at/{n}.log 2>&1 </dev/null; cp $at/{n}.log $at/{n}.out\n"


class Sandbox:
    """A place that looks like the checkout, but takes what is written, and a shell in it."""

    def __init__(self, directory: Path, ports: Ports) -> None:
        self.work = directory / "checkout"
        self.steps = directory / "steps"
        self.home = directory / "home"
        self.ports = ports
        for folder in (self.work, self.steps, self.home):
            folder.mkdir(parents=True)
        for entry in ROOT.iterdir():
            if entry.name not in NOT_SHOWN:
                (self.work / entry.name).symlink_to(entry)
        (self.work / ".venv").symlink_to(sys.prefix)
        # A site that a document starts without options takes the ports that stand for its own.
        self.config = self.home / "hilum.toml"
        listeners = "[http]\nport = 8080\n[control]\nport = 8081\n"
        listeners += "[mqtt]\nport = 1883\n[coap]\nport = 5683\n"
        self.config.write_text(ports.to_real(listeners))

    def environment(self) -> dict[str, str]:
        """Return the variables that the document's commands see."""
        programs = Path(sys.executable).parent
        return {
            "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin",
            "HOME": str(self.home),
            "HILUM_CONFIG": str(self.config),
            "HILUM_STATE": str(self.home / "state"),
            "HILUM_URL": self.ports.to_real("http://127.0.0.1:8080"),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }

    def run(self, name: str, steps: list[Step]) -> None:
        """Run the steps in order; raise DocumentError for the first that fails."""
        driver = PROLOGUE.format(directory=shlex.quote(str(self.steps)))
        for number, step in enumerate(steps):
            (self.steps / f"{number}.sh").write_text(self.ports.to_real(step.command) + "\n")
            driver += STEP.format(n=number)
        (self.steps / "driver").write_text(driver)
        status = self._run_driver()
        for number, step in enumerate(steps):
            self._check(name, number, step, status)

    def _run_driver(self) -> int | None:
        with (self.steps / "driver.log").open("wb") as log:
            shell = subprocess.Popen(
                ["bash", "--noprofile", "--norc", str(self.steps / "driver")],
                cwd=self.work,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                return shell.wait(SECONDS)
            except subprocess.TimeoutExpired:
                return None
            finally:
                _end_group(shell)

    def _check(self, name: str, number: int, step: Step, status: int | None) -> None:
        where = f"{name}:{step.line}"
        finished = self.steps / f"{number}.out"
        if not finished.exists():
            how = f"took longer than {SECONDS} s" if status is None else f"ended with {status}"
            raise DocumentError(f"{where}: {how}\n{step.command}\n{self._logs(number)}")
        printed = self.ports.to_shown(finished.read_text(errors="replace"))
        if step.output is not None and not matches(step.output, printed):
            raise DocumentError(f"{where}: shows\n{step.output}\nbut printed\n{printed}")

    def _logs(self, number: int) -> str:
        """Return what the failed step printed, and what earlier ones printed after their end."""
        parts = []
        for earlier in range(number + 1):
            log, out = (self.steps / f"{earlier}.{suffix}" for suffix in ("log", "out"))
            if log.exists() and (earlier == number or log.stat().st_size > out.stat().st_size):
                parts.append(f"--- step {earlier + 1}\n{log.read_text(errors='replace')[-3000:]}")
        parts.append((self.steps / "driver.log").read_text(errors="replace"))
        return "\n".join(parts)


def _end_group(shell: subprocess.Popen[bytes]) -> None:
    """End the shell and all that it left running, gently at first."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)):
        until = time.monotonic() + patience
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, number)
        while _runs(shell.pid) and time.monotonic() < until:
            time.sleep(0.02)
    shell.wait()


def _runs(group: int) -> bool:
    """Whether a process of a group still runs: what has ended may wait a second for its parent."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its) == group and state != "Z":
            return True
    return False
