"""What happens in the demo, step by step, and whether it did happen."""

import signal

from examples.weight.common import SiteError
from examples.weight.crossing import Crossing
from examples.weight.day import seconds

SERVICES = ("wristband", "phone", "weather", "calendar", "recommender")
PROFILE = {"user": "alice", "weightKg": 82, "targetKg": 78, "weeks": 8}
OLD, NEW = "1.0.0/a", "2.0.0/a"


class Story(Crossing):
    """A day of body-weight management."""

    def tell(self, speed: float) -> None:
        """Tell all of it; the day lasts 86,400 / ``speed`` seconds."""
        children = [self.stage.start(name) for name in SERVICES]
        children.append(self.stage.start("recommender", "b"))
        for child in children:
            child.wait_for("ready")
        self.check("every service registered, each as a principal of its own", ok=True)
        self.clock = self.stage.begin(speed)
        for when, step in {
            "05:00": self.create_plan,
            "08:00": self.kill_an_instance,
            "10:00": self.deploy,
            "12:00": self.share,
            "14:00": self.cross,
            "15:30": self.switch,
            "18:00": self.refuse,
            "24:00": self.end,
        }.items():
            self.clock.wait(seconds(when))
            step()

    def create_plan(self) -> None:
        plan = self.client.site.call("WeightManagementPlan/createPlan", PROFILE)["plan"]
        for instance in "ab":
            self.stage.children.all[f"recommender-{instance}"].wait_for(f"offers {plan}")
        self.check(f"createPlan created {plan}", self.client.site.get(plan)["kind"] == "object")
        self.client.begin(plan)
        self.check("two instances of 1.0.0 answer", set(self.answers(20)) == {OLD, "1.0.0/b"})

    def kill_an_instance(self) -> None:
        self.say("kill -9: the recommender's instance b is gone without a word")
        self.stage.children.all["recommender-b"].signal(signal.SIGKILL)
        self.check("instance a takes over", set(self.answers(20)) == {OLD})

    def deploy(self) -> None:
        self.say("version 2.0.0 of the recommender is started beside version 1.0.0")
        self.stage.start("recommender2", token="recommender").wait_for(f"offers {self.client.plan}")
        self.check("2.0.0 gets no call before policy says so", set(self.answers(15)) == {OLD})

    def share(self) -> None:
        self.stage.apply("versions/half")
        self.say("applied versions/half.yaml: half of the calls go to each version")
        self.wait(lambda: len(self.client.advice) == 2)
        advice = self.client.advice.copy()
        for version, text in sorted(advice.items()):
            self.say(f"{version} recommends: {text}")
        self.check("the versions recommend different things", len(set(advice.values())) == 2)
        answered = self.answers(30)
        shares = ", ".join(f"{by} {count}" for by, count in sorted(answered.items()))
        self.check("both versions answer", set(answered) == {OLD, NEW}, shares)

    def switch(self) -> None:
        self.stage.apply("versions/2.0.0")
        self.say("applied versions/2.0.0.yaml: all calls go to version 2.0.0")
        self.check("2.0.0 answers alone", set(self.answers(20)) == {NEW})

    def refuse(self) -> None:
        method, denial = f"{self.client.plan}/getRecommendation", "nothing"
        try:
            self.stage.site_of("mallory").get(method)
        except SiteError as error:
            denial = str(error)
        decision = self.stage.explain("user:mallory", method)
        self.say(f"mallory, whom nobody invited, is told {denial}")
        self.check("an uninvited principal is denied", denial.startswith("403: "))
        for reason in decision["reasons"]:
            self.say(f"the operator is told why: {reason['policy']}: {reason['why']}")
        self.check("the operator is told why", "user:mallory" in decision["reasons"][0]["why"])

    def end(self) -> None:
        self.crossed()
        reached = self.wait(lambda: self.client.goal["reached"])
        self.check("the goal of the day is reached", reached)
        over = self.wait(lambda: "1.0.0/b" not in self.stage.live("Recommender"))
        self.check("the killed instance's lease ran out", over)
        for failure in self.client.failures[:5]:
            self.say(f"a failed call: {failure}")
        self.check(f"none of {self.client.calls()} calls failed", not self.client.failures)
        self.check("no process ended but the one that was killed", not self.stage.children.ended())
