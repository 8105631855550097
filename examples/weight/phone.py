"""A phone: its user says what she eats, and it relays her wristband, rolled up to minutes."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

from examples.weight.day import clock, rows, seconds, wait_for_clock
from examples.weight.service import Microservice

PHONE = {
    "name": "Phone",
    "channels": {
        "eaten": {
            "description": "What was eaten: time, food, kcal, and total of the day so far",
            "durable": True,
        },
        "burned": {
            "description": "One event a minute: minute, kcal, samples, and total of the day so far",
            "retain": {"count": 1440},
        },
    },
}


def roll_up(samples: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Turn samples into one event a minute: at its last sample, or at the first of a later one."""
    minute, kcal, count, total = -1, 0.0, 0, 0.0
    for sample in samples:
        end = seconds(sample["time"])
        if count and minute != (end - 1) // 60:
            yield _minute(minute, kcal, count, total)
            kcal, count = 0.0, 0
        minute = (end - 1) // 60
        kcal, count, total = kcal + sample["kcal"], count + 1, total + sample["kcal"]
        if end % 60 == 0:
            yield _minute(minute, kcal, count, total)
            kcal, count = 0.0, 0


def _minute(minute: int, kcal: float, samples: int, total: float) -> dict[str, Any]:
    return {
        "minute": clock(minute * 60),
        "kcal": round(kcal, 2),
        "samples": samples,
        "total": round(total, 2),
    }


def relay(phone: Microservice) -> None:
    """Be the edge: take the wristband's stream, and pass on what the cloud needs of it."""
    for minute in roll_up(event.value for event in phone.site.events("Wristband/calories")):
        phone.publish("Phone/burned", minute)


def main() -> None:
    phone = Microservice("Phone")
    phone.register(PHONE)
    threading.Thread(target=relay, args=[phone], daemon=True).start()
    day = wait_for_clock(phone.site)
    total = 0
    for meal in rows("meals"):
        day.wait(seconds(meal["time"]))
        total += int(meal["kcal"])
        event = {**meal, "kcal": int(meal["kcal"]), "total": total}
        phone.publish("Phone/eaten", event)
    phone.rest()


if __name__ == "__main__":
    main()
