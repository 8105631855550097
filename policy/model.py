"""What an operator writes: the policies' types, and the Principal they speak of (design 7)."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from policy.quality_rules import Breaker, Concurrency, Count, Outlier, Rate, Retries, Shed
from registry.model import ArgumentPlace, Encoding, Retain, Term


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


Value: TypeAlias = str | float | bool | tuple[str, ...]
"""What an attribute can be."""


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
    attributes: Mapping[str, Value] = field(default_factory=dict)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that its credential says it has; policies may give it more."""
        roles = self.attributes.get("roles", ())
        return roles if isinstance(roles, tuple) else ()

    def __repr__(self) -> str:
        return f"Principal({self.id}, {self.kind})"


ADMINISTRATOR = "administrator"
"""The kind of principal that always reaches ``$site/policy/**``."""

ANONYMOUS = Principal("anonymous:http", "anonymous")


class Subject(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who a rule speaks of: every condition given must hold; ``*`` stands for anything.

    ``role`` is the name of a ``Role``; "" asks for none.
    """

    principal: str = "*"
    kind: str = "*"
    role: str = ""


Effect: TypeAlias = Literal["allow", "deny"]
Lifecycle: TypeAlias = Literal["register", "create", "destroy", "bind"]
Subjects: TypeAlias = Annotated[tuple[Subject, ...], Meta(min_length=1, max_length=256)]
Names: TypeAlias = Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
"""Patterns of names."""
Weight: TypeAlias = Annotated[int, Meta(ge=0, le=1_000_000)]


class Obligations(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an allowing policy asks to be done beside: told to the audit log, masked, added.

    ``mask`` are JSON Pointers (RFC 6901) of members that the caller does not get to see,
    ``headers`` fields that the provider of a call gets.
    """

    log: bool = False
    mask: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    headers: Annotated[dict[str, str], Meta(max_length=16)] = {}


NONE = Obligations()

Mode: TypeAlias = Literal["enforce", "shadow"]
"""A policy in shadow mode is decided and recorded, but not enforced."""
When: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""A condition (docs/policies.md); "" always holds."""


class AccessPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Allow or deny actions on names; deny beats allow, nothing said means deny.

    ``groups`` are the subscriber groups that a rule lets its subjects join.
    """

    effect: Effect
    subjects: Subjects
    actions: Annotated[tuple[Action, ...], Meta(min_length=1, max_length=16)]
    names: Names
    groups: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    when: When = ""
    mode: Mode = "enforce"
    obligations: Obligations = NONE
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
    when: When = ""
    mode: Mode = "enforce"
    description: str = ""


class Role(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A role: its members, and the roles whose permissions its members have too (RBAC1)."""

    subjects: Annotated[tuple[Subject, ...], Meta(max_length=4096)] = ()
    inherits: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    description: str = ""


class Attribute(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Declares an attribute that conditions may use, such as ``subject.rank``.

    ``values`` are those of an ``ordered`` one, the lowest first.
    """

    attribute: str
    type: Literal["string", "number", "boolean", "set", "path", "ordered"] = "string"
    values: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    description: str = ""


Attributes: TypeAlias = Annotated[
    dict[str, str | float | bool | tuple[str, ...]], Meta(max_length=64)
]


class ObjectAttributes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an operator states about names: conditions see it as ``object.<attribute>``."""

    names: Names
    attributes: Attributes
    description: str = ""


class Assertion(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Lets owners say what their own names are; without one nothing that they say counts.

    Said are classes, a place and a category of an ontology (IRIs). ``values`` are the only ones
    that count, ``under`` classes or places that they must be, or be below; without both: any.
    """

    subjects: Subjects
    names: Names
    attributes: Annotated[
        tuple[Literal["type", "place", "category"], ...], Meta(min_length=1, max_length=3)
    ]
    values: Annotated[tuple[Term, ...], Meta(max_length=256)] = ()
    under: Annotated[tuple[Term, ...], Meta(max_length=256)] = ()
    description: str = ""


class Environment(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What holds for the whole site: the highest threat level of all counts."""

    threat: Annotated[int, Meta(ge=0, le=10)] = 0
    attributes: Attributes = {}
    description: str = ""


class FirstUsePolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ask a controller when a principal first uses a name and no rule decides (S3 III-F).

    The controller is the method ``call`` of a microservice, or a ``plugin`` of this process
    (``module:attribute``). ``timeout`` is milliseconds, ``idle``, ``hard`` and ``deny`` (how long
    answers are kept: unused, at most, and denials) are seconds.
    """

    names: Names
    actions: Annotated[tuple[Action, ...], Meta(min_length=1, max_length=16)] = (
        Action.CALL,
        Action.PUBLISH,
        Action.SUBSCRIBE,
    )
    call: str = ""
    plugin: str = ""
    timeout: Annotated[int, Meta(ge=1, le=10_000)] = 500
    idle: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    hard: Annotated[float, Meta(gt=0, le=30 * 86_400)] = 3600.0
    deny: Annotated[float, Meta(ge=0, le=3600)] = 5.0
    unreachable: Effect = "deny"
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


class QualityPolicy(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Constraints on the traffic of names, principals and bindings (S3 III-B).

    ``per`` says what shares a limit: without it all traffic that the policy covers. ``timeout``
    is milliseconds, 0 leaves the method's. A higher ``priority`` is served before a lower one;
    of all policies that cover a call the highest counts, and 5 if none says any. ``reserve`` is
    the share of bursts and places that only priorities above 5 may use.
    """

    names: Names
    subjects: Subjects = (Subject(),)
    per: Annotated[tuple[Literal["principal", "name", "binding"], ...], Meta(max_length=3)] = ()
    messages: Rate | None = None
    bytes: Rate | None = None
    concurrency: Concurrency | None = None
    timeout: Annotated[int, Meta(ge=0, le=300_000)] = 0
    retries: Retries | None = None
    breaker: Breaker | None = None
    outlier: Outlier | None = None
    shed: Shed | None = None
    priority: Annotated[int, Meta(ge=0, le=10)] | None = None
    reserve: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
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


Policy = (
    AccessPolicy
    | LifecyclePolicy
    | Role
    | Attribute
    | ObjectAttributes
    | Assertion
    | Environment
    | FirstUsePolicy
    | Binding
    | ResolutionPolicy
    | QualityPolicy
    | TopicSpace
)

KINDS: dict[str, type[Policy]] = {
    kind.__name__: kind
    for kind in (
        AccessPolicy,
        LifecyclePolicy,
        Role,
        Attribute,
        ObjectAttributes,
        Assertion,
        Environment,
        FirstUsePolicy,
        Binding,
        ResolutionPolicy,
        QualityPolicy,
        TopicSpace,
    )
}
