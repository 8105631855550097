"""A calendar: publishes the day's appointments, again whenever one is added."""

from itertools import groupby

from examples.weight.day import rows, seconds, wait_for_clock
from examples.weight.service import Microservice

CHANNEL = {"description": "The day's appointments: told (time), busy: [{start, end, what}]"}


def main() -> None:
    service = Microservice("Calendar")
    service.register({"name": "Calendar", "channels": {"appointments": CHANNEL}})
    clock = wait_for_clock(service.site)
    busy = []
    for told, news in groupby(rows("calendar"), key=lambda row: row["told"]):
        clock.wait(seconds(told))
        busy += [{key: row[key] for key in ("start", "end", "what")} for row in news]
        service.publish("Calendar/appointments", {"told": told, "busy": busy})
    service.rest()


if __name__ == "__main__":
    main()
