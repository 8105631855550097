"""What an operator writes: the policies' types, and the Principal they speak of (design 7)."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from registry.model import ArgumentPlace, Encoding, Retain


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


Effect: TypeAlias = Literal["allow", "deny"]
Lifecycle: TypeAlias = Literal["register", "create", "destroy", "bind"]
Subjects: TypeAlias = Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=256)]
Names: TypeAlias = Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
"""Patterns of names."""
Count: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
Weight: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]


class AccessPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Allow or deny actions on names; deny beats allow, nothing said means deny.

    ``groups`` are the subscriber groups that a rule lets its subjects join.
    """

    effect: Effect
    subjects: Subjects
    actions: Annotated[tuple[Action, ...], Meta(min_length=1, max_length=16)]
    names: Names
    groups: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    description: str = ""


class LifecyclePolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who may register, create or destroy which names and bind which endpoints (S3 III-B).

    ``endpoints`` restricts ``bind`` to URLs with the origin of one of them and its path or below.
    """

    effect: Effect
    subjects: Subjects
    actions: Annotated[tuple[Lifecycle, ...], Meta(min_length=1, max_length=16)]
    names: Names
    endpoints: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    description: str = ""


class Binding(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A static binding of a name by an operator (S3 III-B).

    Either ``endpoint`` provides the method ``name`` (``method``, ``args`` and ``encoding`` as in a
    manifest), or every event of the channel ``name`` becomes a call of the method ``call``, or the
    channel ``name`` is fed from the URL ``source``.
    """

    name: str
    endpoint: str = ""
    method: str = "POST"
    args: dict[str, ArgumentPlace] = {}
    encoding: Encoding = ""
    safe: bool = False
    idempotent: bool = False
    call: str = ""
    source: str = ""
    description: str = ""


class HealthCheck(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Active probing of a binding's endpoints; times in seconds."""

    path: str
    interval: Annotated[float, Meta(ge=0.1, le=3600)] = 5.0
    timeout: Annotated[float, Meta(ge=0.01, le=60)] = 2.0
    healthy: Count = 1
    unhealthy: Count = 2


class Passive(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ejection of an endpoint after ``failures`` failures in a row, for ``seconds``."""

    failures: Count = 3
    seconds: Annotated[float, Meta(ge=0, le=3600)] = 10.0


class Choice(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One choice of a resolution: a version or instance of a microservice, or another site.

    ``weight`` shares traffic among choices of the same ``order``; higher orders are used only
    when nothing of a lower one is healthy. ``site`` is the base URL of another site's gateway.
    """

    microservice: str = ""
    version: str = ""
    instance: str = ""
    site: str = ""
    weight: Weight = 1
    order: Annotated[int, Meta(ge=0, le=1000)] = 0


class ResolutionPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which endpoints a name resolves to, while traffic flows (S3 III-B).

    ``sticky`` is ``principal`` or ``header:<name>``. ``delivery`` speaks of channels: every
    subscriber gets each event, or one of each subscriber's group does.
    """

    names: Names
    choices: Annotated[tuple[Choice, ...], Meta(max_length=256)] = ()
    sticky: str = ""
    health: HealthCheck | None = None
    passive: Passive = Passive()
    delivery: Literal["duplicate", "one-of-group"] = "duplicate"
    description: str = ""


class TopicSpace(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Names that need no registration: whatever is used under ``names`` is a channel in memory.

    Access policies decide about them as about any name. What an MQTT publisher says of retaining
    decides a free topic's last value, as on other brokers.
    """

    names: Names
    retain: Retain = Retain(count=1, bytes=1 << 20)
    overflow: Literal["drop-oldest", "disconnect", "block"] = "drop-oldest"
    description: str = ""


Policy = AccessPolicy | LifecyclePolicy | Binding | ResolutionPolicy | TopicSpace

KINDS: dict[str, type[Policy]] = {
    "AccessPolicy": AccessPolicy,
    "LifecyclePolicy": LifecyclePolicy,
    "Binding": Binding,
    "ResolutionPolicy": ResolutionPolicy,
    "TopicSpace": TopicSpace,
}
