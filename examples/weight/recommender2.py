"""The recommender's second version: plans the rest of the day, not just the next minute."""

from math import ceil
from typing import NamedTuple

from examples.weight.day import clock
from examples.weight.facts import BIKE, RUN, Day, Exercise, Goal, missing
from examples.weight.plans import Recommender

DIGESTION = 45
"""Minutes from a meal to exercise."""
SHORTEST, LONGEST = 20, 60
"""Minutes of one exercise."""


class Slot(NamedTuple):
    """A time for exercise, and what the forecast allows then."""

    start: int
    end: int
    exercise: Exercise


def slots(day: Day) -> list[Slot]:
    """Return the times that are free, long enough and not after a meal; the best ones first."""
    found = []
    for start, end in day.free():
        begin = max(start, day.meal + DIGESTION)
        if end - begin >= SHORTEST:
            exercise = RUN if day.outdoors(begin) else BIKE
            found.append(Slot(begin, min(end, begin + LONGEST), exercise))
    return sorted(found, key=lambda slot: -slot.exercise.kcal)


def advise(goal: Goal, day: Day) -> str:
    """Spread what is missing over the best times; what does not fit must not be eaten."""
    todo = missing(goal, day)
    if not todo:
        return "Nothing to do: you are on your way."
    plan = []
    for start, end, exercise in slots(day):
        if todo > 0:
            minutes = min(end - start, max(SHORTEST, ceil(todo / exercise.kcal)))
            todo -= round(minutes * exercise.kcal)
            plan.append((start, f"{exercise.name} for {minutes} minutes", day.forecast(start)))
    said = [
        f"at {clock(start * 60)}, {what} ({then['sky']}, {then['celsius']} °C)"
        for start, what, then in sorted(plan)
    ]
    if todo > 0:
        said.append(f"eat {todo} kcal less than usual")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    Recommender("2.0.0", advise).run()
