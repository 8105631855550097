"""A phone: its user says what she eats, and it relays her wristband, rolled up to minutes.

It speaks CoAP, and answers it: each of the wristband's samples is a call of it (policies.yaml).
"""

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from examples.weight.by_coap import CoapSite
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


def main() -> None:
    phone = Microservice("Phone", connect=CoapSite)
    site: CoapSite = phone.site
    samples = SimpleQueue[dict[str, Any]]()

    def relay() -> None:
        """Be the edge: pass on what the cloud needs of the wristband's stream."""
        for minute in roll_up(iter(samples.get, None)):
            phone.publish("Phone/burned", minute)

    def remind(asked: dict[str, Any]) -> dict[str, Any]:
        goal = site.call(f"{asked['plan']}/checkGoal")
        return {"reminder": f"{goal['missing']} kcal to go", "by": goal["by"]}

    methods = {"sample": site.serve("sample", samples.put), "remind": site.serve("remind", remind)}
    phone.register({**PHONE, "methods": methods})
    threading.Thread(target=relay, daemon=True).start()
    day = wait_for_clock(site)
    total = 0
    for meal in rows("meals"):
        day.wait(seconds(meal["time"]))
        total += int(meal["kcal"])
        event = {**meal, "kcal": int(meal["kcal"]), "total": total}
        phone.publish("Phone/eaten", event)
    phone.rest()


if __name__ == "__main__":
    main()
