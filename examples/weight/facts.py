"""What the recommenders know: the day as the events tell it, and what is missing to a goal. Pure.

Times are minutes of the day, energy is kcal.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from examples.weight.day import clock, seconds

DAY = 24 * 60
REST = 1.6
"""Burned in a minute without exercise."""
USUAL_MEALS, FIRST_MEAL, LAST_MEAL = 2200, 7 * 60, 21 * 60
KCAL_PER_KG = 7700


class Exercise(NamedTuple):
    """Something to do, and what a minute of it burns beyond REST."""

    name: str
    kcal: float


RUN = Exercise("run", 9.7)
BIKE = Exercise("ride the exercise bike", 7.5)


class Goal(NamedTuple):
    """What a plan asks: to burn ``kcal`` more than is eaten, each day."""

    user: str
    kcal: int


def goal_of(user: str, weight: float, target: float, weeks: float) -> Goal:
    """Return the daily goal of somebody who wants to get from ``weight`` to ``target`` kg."""
    if not (target < weight and weeks > 0):
        raise ValueError("targetKg must be below weightKg, and weeks above 0")
    return Goal(user, round((weight - target) * KCAL_PER_KG / (weeks * 7)))


@dataclass
class Day:
    """The day so far."""

    now: int = 0
    burned: float = 0.0
    eaten: int = 0
    meal: int = -DAY
    hours: dict[str, dict[str, Any]] = field(default_factory=dict)
    busy: list[tuple[int, int]] = field(default_factory=list)

    def on_burned(self, event: dict[str, Any]) -> None:
        self.now, self.burned = seconds(event["minute"]) // 60 + 1, event["total"]

    def on_eaten(self, event: dict[str, Any]) -> None:
        self.meal, self.eaten = seconds(event["time"]) // 60, event["total"]

    def on_forecast(self, event: dict[str, Any]) -> None:
        self.hours = event["hours"]

    def on_appointments(self, event: dict[str, Any]) -> None:
        times = [(seconds(one["start"]), seconds(one["end"])) for one in event["busy"]]
        self.busy = sorted((start // 60, end // 60) for start, end in times)

    def forecast(self, at: int) -> dict[str, Any]:
        """Return sky and celsius of a time."""
        return self.hours.get(str(at // 60)) or {"sky": "unknown", "celsius": "?"}

    def outdoors(self, at: int) -> bool:
        """Tell whether the forecast for a time lets one out."""
        return self.forecast(at)["sky"] in ("sunny", "cloudy")

    def free(self) -> Iterator[tuple[int, int]]:
        """Yield the times that are free in the rest of the day: start and end."""
        at = self.now
        for start, end in [*self.busy, (DAY, DAY)]:
            if start > at:
                yield at, start
            at = max(at, end)


def missing(goal: Goal, day: Day) -> int:
    """Return what exercise must still burn, if the rest of the day is as usual."""
    meals_left = (LAST_MEAL - max(day.now, FIRST_MEAL)) / (LAST_MEAL - FIRST_MEAL)
    eaten = day.eaten + USUAL_MEALS * max(0.0, meals_left)
    burned = day.burned + REST * (DAY - day.now)
    return max(0, round(goal.kcal - (burned - eaten)))


def check_goal(goal: Goal, day: Day) -> dict[str, Any]:
    """Say where the day stands."""
    time, todo = clock(day.now * 60), missing(goal, day)
    facts = {"time": time, "burned": round(day.burned), "eaten": day.eaten}
    return {**facts, "goal": goal.kcal, "missing": todo, "reached": day.now == DAY and not todo}
