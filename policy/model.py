"""What an operator writes: the policies' types, and the Principal they speak of (design 7)."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Literal

from msgspec import Struct


class Action(StrEnum):
    """What a principal may ask to do with a name."""

    CALL = "call"
    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    DESCRIBE = "describe"
    REGISTER = "register"
    CREATE = "create"
    DESTROY = "destroy"
    BIND = "bind"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Principal:
    """The authenticated caller, equal only to itself: decisions are cached by the object.

    ``id`` is ``realm:subject``. ``expires`` is Unix time in seconds, ``credential`` the id of
    what it was authenticated by (revoking that ends what the principal has open). Keep one object
    for each credential and never change its attributes.
    """

    id: str
    kind: str
    _: KW_ONLY
    method: str = ""
    credential: str = ""
    expires: float = float("inf")
    attributes: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Principal({self.id}, {self.kind})"


ADMINISTRATOR = "administrator"
"""The kind of principal that always reaches ``$site/policy/**``."""

ANONYMOUS = Principal("anonymous:http", "anonymous")


class Subject(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who a rule speaks of: every condition given must hold; ``*`` stands for anything."""

    principal: str = "*"
    kind: str = "*"


class AccessPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Allow or deny actions on names; deny beats allow, nothing said means deny.

    ``groups`` are the subscriber groups that a rule lets its subjects join.
    """

    effect: Literal["allow", "deny"]
    subjects: tuple[Subject, ...]
    actions: tuple[Action, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()
    description: str = ""


class LifecyclePolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may register, create or destroy which names and bind which endpoints (S3 III-B).

    ``endpoints`` restricts ``bind`` to URLs that start with one of the prefixes.
    """

    effect: Literal["allow", "deny"]
    subjects: tuple[Subject, ...]
    actions: tuple[Literal["register", "create", "destroy", "bind"], ...]
    names: tuple[str, ...]
    endpoints: tuple[str, ...] = ()
    description: str = ""


class Binding(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A static binding of a name by an operator (S3 III-B).

    Either ``endpoint`` provides the method ``name`` (``method`` and ``args`` as in a manifest),
    or every event of the channel ``name`` becomes a call of the method ``call``.
    """

    name: str
    endpoint: str = ""
    method: str = "POST"
    args: dict[str, Literal["path", "query", "header", "body"]] = {}
    safe: bool = False
    idempotent: bool = False
    call: str = ""
    description: str = ""


class HealthCheck(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Active probing of a binding's endpoints; times in seconds."""

    path: str
    interval: float = 5.0
    timeout: float = 2.0
    healthy: int = 1
    unhealthy: int = 2


class Passive(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ejection of an endpoint after ``failures`` failures in a row, for ``seconds``."""

    failures: int = 3
    seconds: float = 10.0


class Choice(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One choice of a resolution: a version or instance of a microservice, or another site.

    ``weight`` shares traffic among choices of the same ``order``; higher orders are used only
    when nothing of a lower one is healthy. ``site`` is the base URL of another site's gateway.
    """

    microservice: str = ""
    version: str = ""
    instance: str = ""
    site: str = ""
    weight: int = 1
    order: int = 0


class ResolutionPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which endpoints a name resolves to, while traffic flows (S3 III-B).

    ``sticky`` is ``principal`` or ``header:<name>``. ``delivery`` speaks of channels: every
    subscriber gets each event, or one of each subscriber's group does.
    """

    names: tuple[str, ...]
    choices: tuple[Choice, ...] = ()
    sticky: str = ""
    health: HealthCheck | None = None
    passive: Passive = Passive()
    delivery: Literal["duplicate", "one-of-group"] = "duplicate"
    description: str = ""


Policy = AccessPolicy | LifecyclePolicy | Binding | ResolutionPolicy

KINDS: dict[str, type[Policy]] = {
    "AccessPolicy": AccessPolicy,
    "LifecyclePolicy": LifecyclePolicy,
    "Binding": Binding,
    "ResolutionPolicy": ResolutionPolicy,
}
