"""A weather service: publishes the day's forecast, again whenever it changes."""

from itertools import groupby

from examples.weight.day import rows, seconds, wait_for_clock
from examples.weight.service import Microservice

CHANNEL = {"description": "The forecast: told (time), hours: {hour: {sky, celsius}}"}


def main() -> None:
    service = Microservice("Weather")
    service.register({"name": "Weather", "channels": {"forecast": CHANNEL}})
    clock = wait_for_clock(service.site)
    hours = {}
    for told, news in groupby(rows("weather"), key=lambda row: row["told"]):
        clock.wait(seconds(told))
        for row in news:
            hours[row["hour"]] = {"sky": row["sky"], "celsius": int(row["celsius"])}
        service.publish("Weather/forecast", {"told": told, "hours": hours})
    service.rest()


if __name__ == "__main__":
    main()
