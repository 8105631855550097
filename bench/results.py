"""What a measurement found: tables, and targets met or missed. Printed, and kept in RESULTS.md."""

import os
import platform
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.process import MissingProgram, find_program

RESULTS = Path(__file__).with_name("RESULTS.md")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that must not be above its limit."""

    what: str
    figure: float
    limit: float
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.figure <= self.limit

    def row(self) -> list[str]:
        verdict = "met" if self.met else "**missed**"
        return [self.what, f"{_short(self.figure)}{self.unit}", f"{_short(self.limit)}", verdict]


@dataclass(slots=True)
class Section:
    """The findings of one measurement."""

    name: str
    title: str
    tables: list[list[Sequence[str]]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table."""
        self.tables.append([header, *rows])

    def text(self) -> str:
        """Return the section for a terminal."""
        blocks = [f"== {self.title}", *map(_aligned, self.tables), *self.notes]
        if self.targets:
            rows = [target.row() for target in self.targets]
            blocks.append(_aligned([["target", "figure", "limit", ""], *rows]))
        return "\n\n".join(blocks)

    def markdown(self, command: str) -> str:
        """Return the section for RESULTS.md."""
        stamp = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
        blocks = [f"## {self.title}", f"`{command}`, {stamp}", *map(_markdown, self.tables)]
        blocks += self.notes
        if self.targets:
            rows = [target.row() for target in self.targets]
            blocks.append(_markdown([["target", "figure", "at most", ""], *rows]))
        return "\n\n".join(blocks)


def write(section: Section, command: str) -> None:
    """Put a section into RESULTS.md in the place of its last version, and renew the machine's."""
    text = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    text = _replaced(text, "machine", machine())
    RESULTS.write_text(_replaced(text, section.name, section.markdown(command)))


def machine() -> str:
    """Say on what all this was measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    # Debian builds its own with profiles too, by other means than the switch.
    build = (
        "" if optimised or sys.prefix == "/usr" else ", built without profile-guided optimisation"
    )
    rows = [
        ["processor", f"{model[1] if model else platform.processor()}, {os.cpu_count()} cores"],
        ["system", f"Linux {platform.release()}"],
        ["Python", f"CPython {platform.python_version()}{build}"],
        *([name, version] for name in ("nginx", "envoy", "wrk") if (version := _version(name))),
    ]
    return _markdown([["machine", ""], *rows])


def _version(name: str) -> str:
    flag = "--version" if name == "envoy" else "-v"
    try:
        command = [find_program(name), flag]
    except MissingProgram:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else ""


def _replaced(text: str, name: str, block: str) -> str:
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    block = f"{begin}\n{block}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: block, text)
    return f"{text.rstrip()}\n\n{block}\n"


def _short(figure: float) -> str:
    return f"{figure:,.0f}" if abs(figure) >= 100 else f"{figure:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    header, *rest = rows
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
