"""The demo's day: its tables, its clock, and times such as 17:05 as minutes and back."""

import csv
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from examples.weight.common import Site

DATA = Path(__file__).parent / "data"
CHANNEL = "Clock/day"


def rows(table: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a table."""
    with (DATA / f"{table}.csv").open(newline="") as file:
        yield from csv.DictReader(file)


def seconds(clock: str) -> int:
    """Return a time of day, ``HH:MM`` or ``HH:MM:SS``, in seconds."""
    hours, minutes, *rest = map(int, clock.split(":"))
    return hours * 3600 + minutes * 60 + sum(rest)


def clock(seconds: float) -> str:
    """Return a time of day as ``HH:MM``."""
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}"


class Clock(NamedTuple):
    """A day in fast motion: ``midnight`` in Unix time, ``speed`` in times of real time."""

    midnight: float
    speed: float

    def now(self) -> float:
        """Return the time of the demo's day, in seconds."""
        return (time.time() - self.midnight) * self.speed

    def wait(self, until: float) -> None:
        """Sleep until a time of the day; returns at once if that is past."""
        time.sleep(max(0.0, (until - self.now()) / self.speed))


def wait_for_clock(site: Site) -> Clock:
    """Return the demo's clock as soon as the day begins: it is the last value of a channel."""
    return Clock(**next(site.events(CHANNEL)).value)
