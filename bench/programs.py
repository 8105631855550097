"""Measurements that print their own tables: run as programs, kept as they print."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass

from bench.hilum import ROOT
from bench.options import Options
from bench.results import Section, Target


@dataclass(frozen=True, slots=True)
class Program:
    """A module with a ``main``; ``limit`` is for the figure behind the word "ratio" it prints."""

    title: str
    what: str
    quick: tuple[str, ...] = ()
    target: str = ""
    limit: float = 0.0


PROGRAMS = {
    "store": Program(
        "The change log beside bare SQLite commits",
        "durable appends beside bare SQLite commits",
        quick=("--rounds", "300", "--seconds", "0.5"),
    ),
    "fanout": Program(
        "Fan-out: one publisher, 1,000 event streams",
        "event streams beside bare writes",
        quick=("--events", "40", "--rounds", "2"),
        target="CPU per delivery, of bare writes",
        limit=3.0,
    ),
}


def measure(name: str, options: Options) -> Section:
    """Run one of them."""
    program = PROGRAMS[name]
    command = [sys.executable, "-m", f"bench.{name}", *(program.quick if options.quick else ())]
    variables = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
    section = Section(name, program.title, notes=[f"```text\n{done.stdout.rstrip()}\n```"])
    if program.target:
        found = re.search(r"ratio\s+([\d.]+)", done.stdout)
        if found is None:
            raise RuntimeError(f"{name} printed no ratio: {done.stdout}")
        section.targets.append(Target(program.target, float(found[1]), program.limit, " x"))
    return section
