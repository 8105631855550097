"""What the story is told with: its stage, its client, and the checks of what happened."""

import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from examples.weight.client import Client
from examples.weight.day import Clock
from examples.weight.stage import Stage
from examples.weight.watcher import Watcher

PATIENCE = 20.0
"""Seconds that something may take to happen."""


class Check(NamedTuple):
    """Something that has to happen, and whether it did."""

    name: str
    ok: bool


class Director:
    """Runs a stage; ``say`` is told in words what happens."""

    def __init__(self, stage: Stage, say: Callable[[str], None], rate: float) -> None:
        self.stage = stage
        self.say = say
        self.checks: list[Check] = []
        self.clock = Clock(time.time(), 0.0)
        self.client = Client(stage.site_of("alice"), rate)
        self.watcher = Watcher(stage, self.client)

    def check(self, name: str, ok: bool, detail: str = "") -> None:
        """Note whether something happened, and say it."""
        self.checks.append(Check(name, ok))
        self.say(f"{'ok' if ok else 'FAILED'}: {name}{detail and f' ({detail})'}")

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until something holds; returns whether it does."""
        until = time.monotonic() + PATIENCE
        while not condition() and time.monotonic() < until:
            time.sleep(0.02)
        return condition()

    def answers(self, calls: int) -> Counter[str]:
        """Return which instances answer the next calls, and how often."""
        time.sleep(3 * self.client.pause)  # What is under way was decided before.
        before, until = self.client.by.copy(), self.client.calls() + calls
        self.wait(lambda: self.client.calls() >= until)
        return self.client.by - before
