"""What a refusal says, and to whom: reasons only for those allowed to know (design 4)."""

from itertools import islice

from gateway.message import Call, Refusal, Status
from gateway.view import Route, View
from policy.access.index import UNDECIDED, AccessIndex
from policy.decision import Decision
from policy.model import ANONYMOUS, Action
from policy.quality.limits import retry_after
from registry.names import Name, member, near

SIBLINGS = 1000
"""Near names are looked for among at most this many siblings."""


def denial(access: AccessIndex, call: Call, route: Route, decision: Decision) -> Refusal:
    """Refuse a call that policy denies."""
    if decision is UNDECIDED and access.first_uses is not None and access.told is not None:
        access.told(call.principal, call.action, call.name, decision)
    closed = _closed(call)
    if not access.check(call.principal, Action.DESCRIBE, call.name, route.owner).allowed:
        return closed
    reasons = [str(reason) for reason in decision.reasons]
    detail = f"{call.principal.id} may not {call.action} {call.name}: {'; '.join(reasons)}"
    return Refusal(closed.status, detail, extra={"reasons": reasons})


def unknown(access: AccessIndex, view: View, call: Call) -> Refusal:
    """Refuse a call of a name that is not registered.

    Without ``describe`` the answer is that of a denied call, so that nobody can probe for names.
    """
    decision = access.check(call.principal, Action.DESCRIBE, call.name, "")
    if not decision.allowed:
        if access.told is not None:
            access.told(call.principal, call.action, call.name, decision)
        return _closed(call)
    above = Name(call.name.rpartition("/")[0])
    siblings = islice(view.children.get(above, ()), SIBLINGS)
    close = [
        name
        for name in near(call.name, (s for s in siblings if s in view.routes))
        if access.check(call.principal, Action.DESCRIBE, Name(name), "").allowed
    ]
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    extra: dict[str, object] = {"near": close}
    return Refusal(Status.NOT_FOUND, f"{call.name} is not registered here{hint}", extra=extra)


def no_endpoint(route: Route, now: float) -> Refusal:
    """Refuse a call that there is no endpoint for now."""
    selection = route.selection
    wait = 0.0 if selection is None else selection.wait(now)
    if wait:
        detail = f"every endpoint of {route.name} failed too often: it is left alone for a while"
        return Refusal(Status.UNAVAILABLE, detail, retry_after=retry_after(wait))
    if selection is not None and selection.targets():
        detail = f"every endpoint of {route.name} fails its health checks now"
    else:
        detail = (
            f"{member(route.name)} has no live endpoint: its service is not registered now,"
            " gives it none, or a ResolutionPolicy leaves it out"
        )
    return Refusal(Status.UNAVAILABLE, detail, retry_after=1)


def _closed(call: Call) -> Refusal:
    """Refuse without telling what there is; the action would tell, it follows from the kind."""
    if call.principal.kind == ANONYMOUS.kind:
        detail = "authentication is needed: send a bearer token in the Authorization header"
        return Refusal(Status.UNAUTHENTICATED, detail)
    return Refusal(Status.DENIED, f"{call.principal.id} may not do that with {call.name}")
