"""Where protocols meet in the story: each check is a way from one protocol to another."""

from typing import Any

from examples.weight.common import SiteError
from examples.weight.day import rows
from examples.weight.director import Director


class Crossing(Director):
    """A director that checks what crossed from one protocol to another."""

    def cross(self) -> None:
        """Let alice, who speaks HTTP, ask her devices, which ask the recommender."""
        shown = self._ask("Wristband/show")
        self.say(f"the wristband shows {shown.get('shown', shown)!r}")
        self.check("HTTP to MQTT: the wristband answered alice's call", "shown" in shown)
        self.check("MQTT to HTTP: the recommender answered the wristband's", _advised(shown))
        reminder = self._ask("Phone/remind")
        self.say(f"the phone reminds of {reminder.get('reminder', reminder)!r}")
        self.check("HTTP to CoAP: the phone answered alice's call", "reminder" in reminder)
        self.check("CoAP to HTTP: the recommender answered the phone's", _advised(reminder))

    def crossed(self) -> None:
        """See where the wristband's samples went, which it published over MQTT."""
        recorded = {row["time"]: float(row["kcal"]) for row in rows("wristband")}
        self.wait(lambda: len(self.watcher.burned) == 1440)
        samples = self.watcher.samples == recorded
        self.check(f"MQTT to SSE: {len(recorded)} samples reached the display", samples)
        whole = len(self.watcher.burned) == 1440
        exact = abs(sum(self.watcher.burned.values()) - sum(recorded.values())) < 0.01
        rolled_up = f"MQTT to CoAP: the phone rolled {len(recorded)} samples up to 1440 minutes"
        self.check(rolled_up, whole and exact)

    def _ask(self, method: str) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self.client.site.call(method, {"plan": self.client.plan})
        except SiteError as error:
            return {"error": str(error)}
        return answer


def _advised(answer: dict[str, Any]) -> bool:
    """Tell whether an answer names the recommender's instance that gave it."""
    return answer.get("by", "").startswith(("1.0.0/", "2.0.0/"))
