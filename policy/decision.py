"""A decision is a value with its reasons: what was asked, what was answered and why."""

from typing import NamedTuple

from policy.model import Action, Obligations, Principal
from registry.names import Name


class Question(NamedTuple):
    """May this principal do this with this name?

    ``owner`` is the name's owner ("" when the name is not registered), ``group`` the subscriber
    group that it wants to join, ``endpoint`` the URL that it wants to bind.
    """

    principal: Principal
    action: Action
    name: Name
    owner: str = ""
    group: str = ""
    endpoint: str = ""


class Reason(NamedTuple):
    """One rule that mattered: ``policy`` is ``Kind/name`` or ``built-in``."""

    policy: str
    effect: str
    why: str

    def __str__(self) -> str:
        return f"{self.effect} by {self.policy}: {self.why}"


class Decision(NamedTuple):
    """Allow or deny, the deciding reason first, and what an allow obliges to (None: nothing)."""

    allowed: bool
    reasons: tuple[Reason, ...]
    obligations: Obligations | None = None

    def __str__(self) -> str:
        verdict = "allowed" if self.allowed else "denied"
        return f"{verdict} ({'; '.join(map(str, self.reasons))})"
