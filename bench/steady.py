"""A steady rate of calls from h2load, while something else is measured."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench import workload
from bench.process import LOAD_CORE, find_program, pinned

CLIENTS = 50


class Steady:
    """So many calls a second on kept-alive connections, of each path in turn, by one caller."""

    def __init__(
        self, folder: Path, port: int, token: str, paths: Sequence[str], rate: int, seconds: int
    ) -> None:
        self.expected = rate * seconds
        uris, body = folder / "uris", folder / "body"
        uris.write_text("".join(f"http://127.0.0.1:{port}{path}\n" for path in paths))
        body.write_bytes(workload.BODY)
        command = [
            *(find_program("h2load"), "--h1", "-t", "1", "-c", str(CLIENTS)),
            *("--rps", str(rate // CLIENTS), "-D", str(seconds), "-d", str(body)),
            *("-H", f"Authorization: Bearer {token}", "-H", "Content-Type: application/json"),
            *("-i", str(uris)),
        ]
        self._process = subprocess.Popen(
            pinned(LOAD_CORE, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def running(self) -> bool:
        """Return whether the load goes on."""
        return self._process.poll() is None

    def finish(self) -> tuple[int, int]:
        """Wait for the end; return how many calls were answered, and how many not as they should.

        Raises RuntimeError when the rate was not kept: then nothing was measured under load.
        """
        said, _ = self._process.communicate()
        found = re.search(r"(\d+) done, \d+ succeeded, (\d+) failed, (\d+) errored", said)
        codes = re.search(r"(\d+) 2xx", said)
        if found is None or codes is None:
            raise RuntimeError(f"h2load: {said}")
        done, failed, _ = map(int, found.groups())
        # What h2load calls failed is everything that it did not finish, errors included.
        bad = failed + done - int(codes[1])
        if done < 0.9 * self.expected:
            raise RuntimeError(f"only {done} of {self.expected} calls were made: {said}")
        return done, bad

    def stop(self) -> None:
        """End the load if it still goes on."""
        if self.running():
            self._process.kill()
            self._process.wait()
