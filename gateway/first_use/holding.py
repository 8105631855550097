"""First uses outside of exchanges: subscriptions and events that wait for a decision (design 7)."""

from collections.abc import Callable

from gateway.channels import refuse_subscription
from gateway.message import Refusal
from gateway.plane import Plane
from policy.access.index import UNDECIDED
from policy.decision import Decision
from policy.first_use import FIRST_USE
from policy.model import Action, Principal
from registry.names import Name


def held(
    plane: Plane,
    principal: Principal,
    action: Action,
    name: Name,
    then: Callable[[Decision], None],
) -> bool:
    """Whether a use is held: ``then`` comes later and once, and the same check decides within it.

    Raises Refusal when too many uses are held already.
    """
    first_use, route = plane.first_use, plane.view.find(name)
    if first_use is None or route is None:
        return False
    if plane.access.check(principal, action, name, route.owner) is not UNDECIDED:
        return False
    return first_use.hold(principal, action, name, route.owner, then)


def is_first_use(decision: Decision) -> bool:
    """Whether a controller made a decision: it holds no longer than the next check says."""
    return decision.reasons[0].policy.startswith(FIRST_USE)


def refuse_standing(
    plane: Plane, principal: Principal, name: Name, group: str = ""
) -> Refusal | None:
    """Decide whether an open subscription may go on; it may while a controller is asked again."""
    refusal = refuse_subscription(plane, principal, name, group)
    first_use, route = plane.first_use, plane.view.find(name)
    if refusal is None or group or first_use is None or route is None:
        return refusal
    if plane.access.check(principal, Action.SUBSCRIBE, name, route.owner) is not UNDECIDED:
        return refusal
    stands = first_use.stands(principal, Action.SUBSCRIBE, name, route.owner)
    return None if stands else refusal
