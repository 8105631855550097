"""What a refusal says, and to whom: reasons only for those allowed to know (design 4)."""

from collections.abc import Sequence
from itertools import islice

from gateway.message import Call, Refusal, Status
from gateway.view import Route, View
from policy.access import AccessIndex
from policy.decision import Decision
from policy.model import Action
from policy.resolution import Target
from registry.names import Name, member, near

SIBLINGS = 1000
"""Near names are looked for among at most this many siblings."""


def denial(access: AccessIndex, call: Call, route: Route, decision: Decision) -> Refusal:
    """Refuse a call that policy denies."""
    if not access.check(call.principal, Action.DESCRIBE, call.name, route.owner).allowed:
        return _closed(call)
    why = "; ".join(str(reason) for reason in decision.reasons)
    extra: dict[str, object] = {"reasons": [str(reason) for reason in decision.reasons]}
    detail = f"{call.principal.id} may not {call.action} {call.name}: {why}"
    return Refusal(_closed(call).status, detail, extra=extra)


def unknown(access: AccessIndex, view: View, call: Call) -> Refusal:
    """Refuse a call of a name that is not registered.

    Without ``describe`` the answer is that of a denied call, so that nobody can probe for names.
    """
    if not access.check(call.principal, Action.DESCRIBE, call.name, "").allowed:
        return _closed(call)
    above = Name(call.name.rpartition("/")[0])
    siblings = islice(view.children.get(above, ()), SIBLINGS)
    close = [
        name
        for name in near(call.name, siblings)
        if access.check(call.principal, Action.DESCRIBE, Name(name), "").allowed
    ]
    hint = f"; did you mean {', '.join(close)}?" if close else ""
    extra: dict[str, object] = {"near": close}
    return Refusal(Status.NOT_FOUND, f"{call.name} is not registered here{hint}", extra=extra)


def no_endpoint(route: Route, tried: Sequence[Target]) -> Refusal:
    """Refuse a call that no endpoint is left for."""
    if tried:
        detail = f"no healthy endpoint of {route.name} is left (tried {len(tried)})"
    else:
        detail = f"{member(route.name)} has no live endpoint: its service is not registered now"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=1)


def _closed(call: Call) -> Refusal:
    if call.principal.kind == "anonymous":
        detail = "authentication is needed: send a bearer token in the Authorization header"
        return Refusal(Status.UNAUTHENTICATED, detail)
    return Refusal(Status.DENIED, f"{call.principal.id} may not {call.action} {call.name}")
