"""What every version of the recommender is: it combines all events, and offers plans as objects.

Every instance follows the channel of plans too, and offers each plan itself: so all of them,
of every version, can answer for it, and one that starts late knows all that the others know.
"""

import threading
from collections.abc import Callable
from typing import Any

from examples.weight.common import Event
from examples.weight.facts import Day, Goal, check_goal, goal_of
from examples.weight.server import serve
from examples.weight.service import Microservice

OBJECT = "WeightManagementPlan"
PLANS = f"{OBJECT}/plans"


class Recommender:
    """One instance; ``advise`` is what the versions differ in."""

    def __init__(self, version: str, advise: Callable[[Goal, Day], str]) -> None:
        self.service = Microservice("Recommender", version)
        self.name = f"{version}/{self.service.id['instance']}"
        self.advise = advise
        self.day = Day()
        self.plans: dict[str, Goal] = {}
        self.offering = threading.Lock()

    def run(self) -> None:
        """Serve, register, and follow what the others publish."""
        self.url = serve(self.answer, self.service.key)
        args = {"user": "path", "*": "body"}
        create = {"endpoints": [{"url": f"{self.url}/plans/{{user}}", "args": args}]}
        plans = {"durable": True, "description": "The plans that were created"}
        self.service.register(
            {"name": OBJECT, "methods": {"createPlan": create}, "channels": {"plans": plans}}
        )
        self.follow("Phone/burned", self.day.on_burned)
        self.follow("Phone/eaten", self.day.on_eaten)
        self.follow("Weather/forecast", self.day.on_forecast)
        self.follow("Calendar/appointments", self.day.on_appointments)
        self.service.follow(PLANS, self.offer)
        self.service.rest()

    def follow(self, channel: str, take: Callable[[dict[str, Any]], None]) -> None:
        """Take note of every event of a channel."""
        self.service.follow(channel, lambda event: take(event.value))

    def answer(self, verb: str, path: list[str], args: dict[str, Any], who: str) -> dict[str, Any]:
        """Answer a request; the gateway has decided that ``who`` may ask."""
        match verb, path:
            case "POST", ["plans", user]:
                return self.create_plan(user, args, who)
            case "GET", ["plans", plan, "goal"]:
                return {**check_goal(self.plans[plan], self.day), "by": self.name}
            case "GET", ["plans", plan, "recommendation"]:
                return {"recommendation": self.advise(self.plans[plan], self.day), "by": self.name}
        raise KeyError("/".join(path))

    def create_plan(self, user: str, args: dict[str, Any], who: str) -> dict[str, Any]:
        """Create a plan: its number is that of the event that announces it."""
        goal = goal_of(user, *(args.get(key, 0) for key in ("weightKg", "targetKg", "weeks")))
        announced = {**goal._asdict(), "by": who}
        event = Event(self.service.publish(PLANS, announced), announced)
        return {"plan": f"{OBJECT}/{self.offer(event)}", "burnMoreThanYouEat": goal.kcal}

    def offer(self, event: Event) -> str:
        """Make a plan an object of this instance, once."""
        plan = "plan" + event.id.rpartition("-")[2]
        with self.offering:
            if plan not in self.plans:
                self.plans[plan] = Goal(event.value["user"], event.value["kcal"])
                methods = {
                    "checkGoal": self.get(plan, "goal"),
                    "getRecommendation": self.get(plan, "recommendation"),
                }
                self.service.create({"name": f"{OBJECT}/{plan}", "methods": methods})
                print(f"offers {OBJECT}/{plan}", flush=True)
        return plan

    def get(self, plan: str, what: str) -> dict[str, Any]:
        """Describe a safe method of a plan."""
        url = f"{self.url}/plans/{plan}/{what}"
        return {"safe": True, "endpoints": [{"url": url, "method": "GET"}]}
