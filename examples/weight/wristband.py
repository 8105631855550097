"""A wristband with a recorded day instead of sensors: publishes what its wearer burns, over MQTT.

It has a display too: asked to show a plan's advice, it calls for that itself.
"""

from typing import Any

from examples.weight.by_mqtt import MqttSite
from examples.weight.day import rows, seconds, wait_for_clock
from examples.weight.service import Microservice

WRISTBAND = {
    "name": "Wristband",
    "channels": {
        "calories": {
            "description": "A sample every 20 seconds: time (its interval's end), kcal, heartRate",
            "retain": {"count": 5000},
        },
    },
    "methods": {"show": {"description": "Shows what a plan recommends: plan (its name)"}},
}


def main() -> None:
    service = Microservice("Wristband", connect=MqttSite)
    site: MqttSite = service.site
    service.register(WRISTBAND)

    def show(asked: dict[str, Any]) -> dict[str, Any]:
        advice = site.call(f"{asked['plan']}/getRecommendation")
        return {"shown": advice["recommendation"], "by": advice["by"]}

    site.provide("Wristband/show", show)
    clock = wait_for_clock(site)
    for row in rows("wristband"):
        clock.wait(seconds(row["time"]))
        kcal, pulse = float(row["kcal"]), int(row["heart_rate"])
        sample = {"time": row["time"], "kcal": kcal, "heartRate": pulse}
        service.publish("Wristband/calories", sample)
    service.rest()


if __name__ == "__main__":
    main()
