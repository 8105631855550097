"""What the audit log records: who did what, how it was decided and why. Pure.

What is asked over and over is one record and then a count, so that nobody can fill the disk or
push older records out: within a window each principal has few records of its own, and all
together have a bounded number (decision 0039).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple, assert_never

from policy.decision import Decision
from policy.model import Action, Principal
from registry.changes import (
    Batch,
    Change,
    CredentialIssued,
    CredentialRevoked,
    Deregistered,
    Expired,
    ObjectCreated,
    ObjectDestroyed,
    OntologyLoaded,
    OntologyUnloaded,
    PolicyApplied,
    PolicyDeleted,
    PrincipalRevoked,
    Registered,
    ThingDescribed,
    ThingForgotten,
    TokenIssued,
    TokenRevoked,
)
from registry.names import Name

WINDOW: Final = 60.0
"""Seconds that repetitions are counted before they are told."""
PER_SOURCE: Final = 32
"""Different things that one principal, or address, has records of within a window."""
IN_ALL: Final = 512
REASONS: Final = 8
MANY: Final = "(many)"
CATCH_UP: Final = 4096
"""Changes made while the log was not written that it records at most when it is again."""

Body = Mapping[str, object]


class _Key(NamedTuple):
    event: str
    source: str
    what: str
    name: str


class _Repeated:
    """One thing that happens again within a window."""

    __slots__ = ("count", "first", "last", "until")

    def __init__(self, now: float) -> None:
        self.count = 0
        self.first = self.last = now
        self.until = now + WINDOW


class Audit:
    """Makes records and hands them to ``note``, which never blocks.

    ``clock`` is Unix time in seconds. ``allows`` records every allowed question, not only those
    that a policy's obligation asks for. ``changes`` counts from the entry of the change log that
    was recorded last.
    """

    def __init__(
        self,
        note: Callable[[Body], None],
        clock: Callable[[], float],
        *,
        allows: bool = False,
        changes: int = 0,
    ) -> None:
        self.allows = allows
        self.changes = changes
        self.denials: dict[str, int] = {}
        """How many questions each policy denied; at most ``IN_ALL`` policies have a count."""
        self.failures = 0
        """How many authentications failed."""
        self._note = note
        self._clock = clock
        self._repeated: dict[_Key, _Repeated] = {}
        self._sources: dict[str, int] = {}

    # Decisions

    def denied(self, principal: Principal, action: Action, name: Name, decision: Decision) -> None:
        """Record that a question was denied."""
        policy = decision.reasons[0].policy
        if policy in self.denials or len(self.denials) < IN_ALL:
            self.denials[policy] = self.denials.get(policy, 0) + 1
        self.decided("denied", principal, action, name, decision)

    def allowed(self, principal: Principal, action: Action, name: Name, decision: Decision) -> None:
        """Record that a question was allowed, if it is to be recorded."""
        wanted = decision.obligations is not None and decision.obligations.log
        if wanted or self.allows:
            self.decided("allowed", principal, action, name, decision)

    def decided(
        self, event: str, principal: Principal, action: Action, name: Name, decision: Decision
    ) -> None:
        """Record a decision under the name of an event of its own."""
        key = _Key(event, principal.id, action, name)
        self._once(key, lambda: _decision(principal, decision))

    # Who is there

    def authenticated(self, principal: Principal, protocol: str, peer: str) -> None:
        """Record that somebody logged in: a session began."""
        key = _Key("authenticated", principal.id, protocol, peer)
        self._once(key, lambda: {"method": principal.method, "credential": principal.credential})

    def refused(self, peer: str, user: str, why: str) -> None:
        """Record a failed authentication; ``user`` is one that exists, else "".

        What somebody typed where a user's name belongs may be a password.
        """
        self.failures += 1
        self._once(_Key("refused", peer, "", user), lambda: {"why": why})

    # What changed

    def entered(self, seq: int, batch: Batch) -> None:
        """Record an entry of the change log, each of its Changes as one record."""
        if seq <= self.changes:
            return
        missed = seq - self.changes - 1
        if missed and self.changes:  # a snapshot stands for them after a crash
            self._note({"event": "gap", "changes": missed})
        self.changes = seq
        for change in batch.changes:
            what = change_body(change)
            self._note({**what, "actor": batch.actor, "at": batch.at, "log": seq})

    def catch_up(self, head: int) -> None:
        """Begin with the entries of a change log that were not recorded, if they are not too many.

        ``changes`` is then the entry before them.
        """
        missed = head - CATCH_UP - self.changes
        if missed > 0:
            if self.changes:
                self._note({"event": "gap", "changes": missed})
            self.changes = head - CATCH_UP

    # The window

    def sweep(self) -> None:
        """Tell what was repeated; called once a second."""
        now = self._clock()
        over = [(key, one) for key, one in self._repeated.items() if one.until <= now]
        for key, one in over:
            del self._repeated[key]
            self._sources[key.source] -= 1
            if not self._sources[key.source]:
                del self._sources[key.source]
            if one.count:
                self._tell(key, one)

    def flush(self) -> None:
        """Tell everything that was counted: the log ends."""
        for key, one in self._repeated.items():
            if one.count:
                self._tell(key, one)
        self._repeated.clear()
        self._sources.clear()

    # Inside

    def _once(self, key: _Key, body: Callable[[], Body]) -> None:
        again = self._repeated.get(key)
        if again is not None:
            again.count += 1
            again.last = self._clock()
        else:
            self._first(key, body)

    def _first(self, key: _Key, body: Callable[[], Body]) -> None:
        """Record what is new, or count it with others when there is too much that is new."""
        fits = len(self._repeated) < IN_ALL and self._sources.get(key.source, 0) < PER_SOURCE
        if not fits:
            key = self._wider(key)
        one = self._repeated.get(key)
        if one is None:
            one = self._repeated[key] = _Repeated(self._clock())
            self._sources[key.source] = self._sources.get(key.source, 0) + 1
            if fits:
                self._note({**_asked(key), **body()})
                return
        one.count += 1
        one.last = self._clock()

    def _wider(self, key: _Key) -> _Key:
        """Return what counts a thing together with others of its source, or of all sources."""
        full = self._sources.get(key.source, 0) >= PER_SOURCE
        if full and len(self._repeated) < 2 * IN_ALL:
            return key._replace(name=MANY)
        return _Key(key.event, MANY, MANY, MANY)

    def _tell(self, key: _Key, one: _Repeated) -> None:
        first, last = round(one.first * 1000), round(one.last * 1000)
        self._note({**_asked(key), "repeated": one.count, "first": first, "last": last})


def change_body(change: Change) -> dict[str, object]:
    """Return what a record says of a Change: what it is about, never what is secret in it."""
    event = str(change.__struct_config__.tag)
    return {"event": event, **_about(change)}


def _about(change: Change) -> dict[str, Any]:  # noqa: C901, PLR0912 (one case each)
    match change:
        case Registered(one):
            names = [obj.name for obj in one.objects]
            return {"registration": str(one.id), "owner": one.owner, "objects": _some(names)}
        case Deregistered(id_) | Expired(id_):
            return {"registration": str(id_)}
        case ObjectCreated(id_, obj):
            return {"registration": str(id_), "name": obj.name}
        case ObjectDestroyed(name):
            return {"name": name}
        case ThingDescribed(thing):
            return {"thing": thing.id, "name": thing.name, "revision": thing.revision}
        case ThingForgotten(id_):
            return {"thing": id_}
        case OntologyLoaded(ontology):
            return {"ontology": ontology.name, "revision": ontology.revision}
        case OntologyUnloaded(name):
            return {"ontology": name}
        case PolicyApplied(policy):
            found = {"policy": f"{policy.kind}/{policy.name}", "revision": policy.revision}
            return {**found, "expires": policy.expires} if policy.expires else found
        case PolicyDeleted(kind, name):
            return {"policy": f"{kind}/{name}"}
        case TokenIssued(one):
            return {"credential": one.id, "method": "token", **_whose(one)}
        case CredentialIssued(one):
            return {"credential": one.id, "method": one.method, **_whose(one)}
        case TokenRevoked(id_) | CredentialRevoked(id_):
            return {"credential": id_}
        case PrincipalRevoked(principal, at):
            return {"principal": principal, "before": at}
        case _:
            assert_never(change)


def _whose(one: Any) -> dict[str, object]:
    return {"principal": one.principal, "kind": one.kind, "expires": one.expires}


def _asked(key: _Key) -> dict[str, object]:
    event, source, what, name = key
    if event == "authenticated":
        said = {"principal": source, "protocol": what, "peer": name}
    elif event == "refused":
        said = {"peer": source, "user": name}
    else:
        said = {"principal": source, "action": what, "name": name}
    return {"event": event, **{key: value for key, value in said.items() if value}}


def _decision(principal: Principal, decision: Decision) -> dict[str, object]:
    return {
        "kind": principal.kind,
        "credential": principal.credential,
        "policy": decision.reasons[0].policy,
        "reasons": [str(reason) for reason in decision.reasons[:REASONS]],
    }


def _some(names: Iterable[str]) -> list[str]:
    found = list(names)
    more = [f"and {len(found) - REASONS} more"] if len(found) > REASONS else []
    return found[:REASONS] + more
