"""The cast of the exchange's plays: a caller, providers and their sinks, that note what happens.

Everybody writes into one script, so that a test reads what happened in its order.
"""

from collections.abc import Mapping

from gateway.exchange import Exchange, Plane
from gateway.message import Call, Origin, Refusal, Reply, Status
from gateway.ports import Answer, Permit, Sink
from gateway.view import Compiler, Route, View
from policy.access.index import AccessIndex
from policy.model import (
    AccessPolicy,
    Action,
    HealthCheck,
    Passive,
    Principal,
    ResolutionPolicy,
    Subject,
)
from policy.resolution import Source
from registry.catalog import Catalog
from registry.changes import Change, Registered
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Registration,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name

AUTHORITY = "snac.asu.edu"
PLAN = Name(f"{AUTHORITY}/Plan")
ANN = Principal("user:ann", "user", credential="t1")
BOB = Principal("user:bob", "user", credential="t2")


class ScriptedSink:
    """An open call at a provider."""

    def __init__(self, script: list[str], where: str) -> None:
        self._script = script
        self._where = where
        self.cancelled = False

    def _note(self, what: str) -> None:
        self._script.append(f"{self._where} {what}")

    def body(self, data: bytes, end: bool) -> None:
        assert not self.cancelled
        self._note(f"body {data.decode()}{'.' if end else ''}")

    def cancel(self) -> None:
        self.cancelled = True
        self._note("cancel")

    def pause(self) -> None:
        self._note("pause")

    def resume(self) -> None:
        self._note("resume")


class ScriptedProvider:
    """Takes permits; the test answers through ``answers``, the newest last."""

    def __init__(self, script: list[str], kind: str = "") -> None:
        self._script = script
        self._kind = kind
        self.answers: list[Answer] = []
        self.permits: list[Permit] = []

    def send(self, permit: Permit, answer: Answer, body: bytes, end: bool) -> Sink:
        assert isinstance(permit, Permit)
        assert permit.decision.allowed
        target = permit.target
        where = self._kind or "local"
        if target is not None:
            where = target.site or target.session or target.registration.instance
        self.answers.append(answer)
        self.permits.append(permit)
        self._script.append(f"{where} send {body.decode()}{'.' if end else ''}")
        return ScriptedSink(self._script, where)


class ScriptedCaller:
    """Who asked."""

    def __init__(self, script: list[str]) -> None:
        self._script = script
        self.refusal: Refusal | None = None
        self.answers = 0

    def reply(self, head: Reply, body: bytes, end: bool) -> None:
        self.answers += end
        self._script.append(f"caller reply {head.code} {body.decode()}{'.' if end else ''}")

    def reply_body(self, data: bytes, end: bool) -> None:
        self.answers += end
        self._script.append(f"caller body {data.decode()}{'.' if end else ''}")

    def refuse(self, refusal: Refusal) -> None:
        self.answers += 1
        self.refusal = refusal
        self._script.append(f"caller refuse {refusal.status.slug}")

    def abort(self) -> None:
        self.answers += 1
        self._script.append("caller abort")

    def pause(self) -> None:
        self._script.append("caller pause")

    def resume(self) -> None:
        self._script.append("caller resume")


class Stage:
    """A plane with methods of one object, ``Plan``; time stands still until a test moves it."""

    def __init__(self) -> None:
        self.script: list[str] = []
        self.catalog = Catalog()
        self.view = View()
        self.access = AccessIndex(AUTHORITY)
        self.policy: ResolutionPolicy | None = None
        self.sessions: dict[Name, list[Source]] = {}
        self.compiler = Compiler(
            self.catalog,
            self.view,
            lambda name: self.policy,
            lambda name: (),
            lambda name: self.sessions.get(name, []),
        )
        self.local = ScriptedProvider(self.script)
        self.http = ScriptedProvider(self.script)
        self.session = ScriptedProvider(self.script)
        self.plane = Plane(self.view, self.access, self.local)
        self.plane.providers.update(http=self.http, socket=self.session)
        self.plane.now = 100.0
        self.allow("all", ANN.id, *Action)

    # The scenery

    def allow(self, name: str, principal: str, *actions: Action, names: str = "**") -> None:
        self._rule("allow", name, principal, actions, names)

    def deny(self, name: str, principal: str, *actions: Action, names: str = "**") -> None:
        self._rule("deny", name, principal, actions, names)

    def _rule(self, effect, name, principal, actions, names) -> None:  # type: ignore[no-untyped-def]
        policy = AccessPolicy(effect, (Subject(principal),), actions, (names,))
        self.access.put("AccessPolicy", name, policy)

    def register(
        self,
        *instances: str,
        methods: Mapping[str, Method] | None = None,
        channels: Mapping[str, EventChannel] | None = None,
        version: str = "1",
    ) -> None:
        """Each instance offers ``Plan`` with its own endpoint of each method."""
        for instance in instances:
            mine = {
                name: Method(
                    safe=method.safe,
                    idempotent=method.idempotent,
                    input=method.input,
                    endpoints=(Endpoint(f"http://{instance}.test/{name}"),),
                )
                for name, method in (methods or {"make": Method()}).items()
            }
            plan = VirtualObject(PLAN, methods=mine, channels=dict(channels or {}))
            id_ = RegistrationId("Recommender", version, instance)
            self.apply(Registered(Registration(id_, "svc:r", "10.0.0.1", 60, 1, (plan,))))

    def apply(self, *changes: Change) -> None:
        for change in changes:
            touched = self.catalog.apply(change)
            self.view.install(self.compiler.compile(touched.names))

    def resolve(self, policy: ResolutionPolicy) -> None:
        self.policy = policy
        self.view.install(self.compiler.compile(list(self.catalog.names)))

    def route(self, member: str = "make") -> Route:
        route = self.view.find(Name(f"{PLAN}/{member}" if member else PLAN))
        assert route is not None
        return route

    # The action

    def exchange(
        self,
        member: str = "make",
        *,
        action: Action = Action.CALL,
        principal: Principal = ANN,
        timeout: float = 30.0,
        sticky: bytes = b"",
    ) -> tuple[Exchange, ScriptedCaller]:
        route = self.route(member)
        call = Call(action, route.name, principal, self.plane.now + timeout)
        call.sticky = sticky
        caller = ScriptedCaller(self.script)
        return Exchange(self.plane, call, route, caller), caller

    def begin(
        self, member: str = "make", body: bytes = b"", *, end: bool = True, **how: object
    ) -> tuple[Exchange, ScriptedCaller]:
        exchange, caller = self.exchange(member, **how)  # type: ignore[arg-type]
        exchange.begin(body, end)
        return exchange, caller

    def played(self) -> list[str]:
        """Return what happened since the last time it was asked."""
        played = list(self.script)
        self.script.clear()
        return played


def answer(code: int = 200, status: Status = Status.OK) -> Reply:
    return Reply(status, origin=Origin.PROVIDER, code=code)


def patient(failures: int = 1, check: HealthCheck | None = None) -> ResolutionPolicy:
    return ResolutionPolicy(("**",), health=check, passive=Passive(failures=failures, seconds=10))
