"""Prints data/wristband.csv: an invented but plausible day of somebody of 82 kg, always the same.

It needs no sensor and nobody's data; ``python -m examples.weight.record_day`` makes it again.
"""

from collections.abc import Iterator
from random import Random

SECONDS = 20
"""Between two samples."""
KCAL_PER_MET_MINUTE = 82 / 60
"""At rest (1 MET) somebody burns about 1 kcal per kilogram and hour."""

DAY = [
    # until, effort in MET, heart rate
    ("06:45", 0.95, 54),  # sleep
    ("08:10", 1.5, 76),  # breakfast
    ("08:35", 3.6, 104),  # walk to work
    ("12:30", 1.2, 70),
    ("12:55", 2.4, 88),  # lunch
    ("17:10", 1.2, 71),
    ("17:35", 3.6, 105),  # walk home
    ("18:10", 1.3, 74),
    ("18:45", 8.3, 152),  # the run that was recommended
    ("19:10", 1.6, 90),
    ("22:45", 1.3, 72),
    ("24:00", 0.95, 56),
]


def record() -> Iterator[str]:
    """Yield the lines of the recording; a sample's time is the end of its interval."""
    chance = Random(1)
    yield "time,heart_rate,kcal"
    second = 0
    for until, met, pulse in DAY:
        hours, _, minutes = until.partition(":")
        while second < int(hours) * 3600 + int(minutes) * 60:
            second += SECONDS
            effort = 0.85 + 0.3 * chance.random()
            kcal = met * effort * KCAL_PER_MET_MINUTE * SECONDS / 60
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            yield f"{clock},{round(pulse * (0.9 + 0.1 * effort))},{kcal:.2f}"


if __name__ == "__main__":
    for line in record():
        print(line)
