"""A wristband with a recorded day instead of sensors: publishes what its wearer burns."""

from examples.weight.day import rows, seconds, wait_for_clock
from examples.weight.service import Microservice

CHANNEL = {
    "description": "A sample every 20 seconds: time (the end of its interval), kcal, heartRate",
    "retain": {"count": 5000},
}


def main() -> None:
    service = Microservice("Wristband")
    service.register({"name": "Wristband", "channels": {"calories": CHANNEL}})
    clock = wait_for_clock(service.site)
    for row in rows("wristband"):
        clock.wait(seconds(row["time"]))
        kcal, pulse = float(row["kcal"]), int(row["heart_rate"])
        sample = {"time": row["time"], "kcal": kcal, "heartRate": pulse}
        service.publish("Wristband/calories", sample)
    service.rest()


if __name__ == "__main__":
    main()
