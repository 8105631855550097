"""The process that checks descriptions: begun when there is something to check, ended after."""

import asyncio
import contextlib
import sys
from typing import Final

import msgspec

from registry.ontology.findings import Answered, Asked

SECONDS: Final = 20.0
"""How long one check may take, the start of the process included."""
MAX_LINE: Final = 4 * 1024 * 1024
"""Bytes of an answer."""
# -P: a folder that the site happens to be started in never provides the program's own packages.
COMMAND: Final = (sys.executable, "-P", "-m", "registry.ontology.checking")


class Checker:
    """One process at a time; it ends with its standard input, so with this one."""

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self.started = 0

    async def check(self, data: str) -> Answered:
        """Check a graph given as N-Triples; what goes wrong is told as an ``error``."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._answer(data)
        except TimeoutError:
            await self.stop()
            return Answered(error=f"not checked within {SECONDS:.0f} s")
        except (OSError, ValueError) as error:  # a broken pipe, a line too long, no JSON
            await self.stop()
            return Answered(error=f"the check failed: {error}")

    async def stop(self) -> None:
        """End the process; it keeps nothing."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        if process is not None:
            await process.wait()

    async def _answer(self, data: str) -> Answered:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(Asked(data)) + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise ValueError("its process ended")
        return msgspec.json.decode(line, type=Answered)

    async def _start(self) -> asyncio.subprocess.Process:
        self.started += 1
        return await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=MAX_LINE,
        )
