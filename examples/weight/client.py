"""Alice: calls her plan several times a second all day, and keeps count."""

import threading
import time
from collections import Counter, deque
from typing import Any

from examples.weight.by_http import HttpSite
from examples.weight.common import SiteError

RECENT = 40


class Client(threading.Thread):
    """Calls the two methods of a plan in turn."""

    def __init__(self, site: HttpSite, rate: float) -> None:
        super().__init__(daemon=True)
        self.site = site
        self.plan = ""
        self.pause = 1 / rate
        self.ok = 0
        self.failures: list[str] = []
        self.by: Counter[str] = Counter()
        self.recent: deque[str] = deque(maxlen=RECENT)
        self.milliseconds: deque[float] = deque(maxlen=RECENT)
        self.goal: dict[str, Any] = {}
        self.advice: dict[str, str] = {}
        self.latest = ""

    def begin(self, plan: str) -> None:
        """Call the methods of a plan from now on."""
        self.plan = plan
        self.start()

    def calls(self) -> int:
        """Return how many calls were answered or failed."""
        return self.ok + len(self.failures)

    def run(self) -> None:
        while True:
            for method, take in (("checkGoal", self._goal), ("getRecommendation", self._advice)):
                began = time.perf_counter()
                try:
                    answer = self.site.get(f"{self.plan}/{method}")
                except SiteError as error:
                    self.failures.append(f"{method}: {error}")
                else:
                    self.milliseconds.append((time.perf_counter() - began) * 1000)
                    self.ok += 1
                    self.by[answer["by"]] += 1
                    self.recent.append(answer["by"])
                    take(answer)
                time.sleep(self.pause)

    def _goal(self, answer: dict[str, Any]) -> None:
        self.goal = answer

    def _advice(self, answer: dict[str, Any]) -> None:
        self.latest = answer["by"]
        self.advice[answer["by"].partition("/")[0]] = answer["recommendation"]
