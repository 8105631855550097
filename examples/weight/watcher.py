"""What the display shows: the devices' channels, and what the gateway decides."""

import threading
import time
from typing import Any

from examples.weight.client import Client
from examples.weight.common import SiteError
from examples.weight.day import seconds
from examples.weight.stage import Stage

HOUR = 3600


class Watcher:
    """Follows, in threads, what alice may see, and asks the operator's questions."""

    def __init__(self, stage: Stage, client: Client) -> None:
        self.samples: dict[str, float] = {}
        self.burned: dict[str, float] = {}
        self.eaten: dict[str, float] = {}
        self.decision: dict[str, Any] = {}
        self._stage = stage
        self._client = client
        for work in (self._samples, self._burned, self._eaten, self._decisions):
            threading.Thread(target=work, daemon=True).start()

    def _samples(self) -> None:
        for event in self._client.site.events("Wristband/calories"):
            self.samples[event.value["time"]] = event.value["kcal"]

    def _burned(self) -> None:
        for event in self._client.site.events("Phone/burned"):
            self.burned[event.value["minute"]] = event.value["kcal"]

    def _eaten(self) -> None:
        for event in self._client.site.events("Phone/eaten"):
            self.eaten[event.value["time"]] = event.value["kcal"]

    def _decisions(self) -> None:
        while True:
            time.sleep(0.5)
            try:
                if self._client.plan:
                    method = f"{self._client.plan}/getRecommendation"
                    self.decision = self._stage.explain("user:alice", method)
            except SiteError:
                self.decision = {}


def by_hour(kcal_at: dict[str, float]) -> list[float]:
    """Return the sum of each hour of the day."""
    hours = [0.0] * 24
    for time_of_day, kcal in kcal_at.copy().items():
        hours[min(seconds(time_of_day) // HOUR, 23)] += kcal
    return hours
