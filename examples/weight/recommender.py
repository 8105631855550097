"""The recommender's first version: one exercise, for the sky as it is now."""

from math import ceil

from examples.weight.day import clock
from examples.weight.facts import BIKE, RUN, Day, Goal, missing
from examples.weight.plans import Recommender


def advise(goal: Goal, day: Day) -> str:
    """Recommend one exercise: what suits the sky now, in the next free minute."""
    todo, free = missing(goal, day), next(day.free(), None)
    if not todo:
        return "Nothing to do: you are on your way."
    if free is None:
        return "It is too late for exercise today."
    exercise = RUN if day.outdoors(day.now) else BIKE
    return f"At {clock(free[0] * 60)}, {exercise.name} for {ceil(todo / exercise.kcal)} minutes."


if __name__ == "__main__":
    Recommender("1.0.0", advise).run()
