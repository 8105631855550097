"""The model of S3: microservices offer virtual objects, whose members are methods and channels.

All types are immutable values. Names inside them are canonical once they are in the catalog;
in a manifest that just arrived they are relative (``registry.manifest`` makes them canonical).
They hold no cycles, so the garbage collector need not look at them (``gc=False``): replaying
100,000 registrations takes half the time.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from msgspec import Meta, Struct, field

from registry.names import Name

ArgumentPlace = Literal["path", "query", "header", "body"]
Encoding = Literal["", "cbor"]
Text: TypeAlias = Annotated[str, Meta(max_length=4096)]
"""What people read; the limits of this module hold for what arrives from outside."""
Term: TypeAlias = Annotated[str, Meta(min_length=1, max_length=1024)]
"""An IRI of a vocabulary. A manifest may shorten it with a known prefix: ``brick:VAV``."""
Terms: TypeAlias = Annotated[tuple[Term, ...], Meta(max_length=32)]
Deployment: TypeAlias = Literal["", "device", "edge", "fog", "cloud"]
"""Where a microservice runs (S3 III-D)."""


class Kind(StrEnum):
    """What a name is: exactly one of these (design 2)."""

    OBJECT = "object"
    METHOD = "method"
    CHANNEL = "channel"


class Endpoint(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One address that provides a method.

    ``url`` may hold ``{argument}`` places; ``args`` says where each argument of a JSON call goes,
    with ``"*"`` for all the others. Without ``args`` the payload passes through untouched, but
    for a CoAP endpoint with the ``encoding`` ``cbor``: then JSON becomes CBOR, and CBOR JSON again.
    ``security`` names the secret with which the gateway authenticates there: a bare word in a
    manifest, ``<object's name>#<word>`` in the catalog; the secret itself is in the secret store.
    """

    url: str
    method: str = "POST"
    args: dict[str, ArgumentPlace] = {}
    encoding: Encoding = ""
    security: Annotated[str, Meta(max_length=1200)] = ""


class Retain(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """How much of a channel is kept for subscribers that resume; 0 means no such limit."""

    count: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    bytes: Annotated[int, Meta(ge=0, le=1 << 30)] = 16 * 1024 * 1024
    age: Annotated[int, Meta(ge=0, le=10 * 366 * 86_400)] = 0
    """Seconds."""


class ServiceLevel(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What a service promises (S3 III-D); 0 promises nothing.

    ``latency`` is the 95th percentile in milliseconds, ``availability`` a share of time,
    ``rate`` calls or events per second.
    """

    latency: Annotated[float, Meta(ge=0, le=86_400_000)] = 0
    availability: Annotated[float, Meta(ge=0, le=1)] = 0
    rate: Annotated[float, Meta(ge=0, le=1e9)] = 0


class Profile(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What a method or channel means, in the words of an ontology (S3 III-D, OWL-S).

    ``inputs`` and ``outputs`` give the class of each parameter; preconditions and effects are
    classes of situations, compared as terms.
    """

    category: Annotated[str, Meta(max_length=1024)] = ""
    inputs: Annotated[dict[str, Term], Meta(max_length=32)] = {}
    outputs: Annotated[dict[str, Term], Meta(max_length=32)] = {}
    preconditions: Terms = ()
    effects: Terms = ()
    level: ServiceLevel = ServiceLevel()


class Method(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A member that is called and answers.

    A ``safe`` method changes nothing and may be called with GET; an ``idempotent`` one may be
    retried. Timeouts are milliseconds; 0 leaves the site's default.
    """

    description: Text = ""
    safe: bool = False
    idempotent: bool = False
    timeout: Annotated[int, Meta(ge=0, le=300_000)] = 0
    input: dict[str, Any] | None = None
    output: dict[str, Any] | None = None
    endpoints: Annotated[tuple[Endpoint, ...], Meta(max_length=64)] = ()
    types: Terms = ()
    profile: Profile | None = None


class EventChannel(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A member that is published to and subscribed to.

    ``durable`` channels survive a crash. ``overflow`` says what happens to a subscriber that is
    too slow for its bounded queue. ``sources`` are URLs whose events are published here: topics
    of a broker, and CoAP resources that are observed.
    """

    description: Text = ""
    durable: bool = False
    retain: Retain = Retain()
    overflow: Literal["drop-oldest", "disconnect", "block"] = "drop-oldest"
    schema: dict[str, Any] | None = None
    sources: Annotated[tuple[str, ...], Meta(max_length=16)] = ()
    types: Terms = ()
    profile: Profile | None = None


class VirtualObject(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A named thing with members.

    ``types`` are classes of an ontology, ``place`` is where it is: an individual of the site's
    model. They are what its service says: who believes it is for policy to say.
    """

    name: str
    description: Text = ""
    methods: dict[str, Method] = {}
    channels: dict[str, EventChannel] = {}
    types: Terms = ()
    place: Annotated[str, Meta(max_length=1024)] = ""

    def members(self) -> "list[tuple[Name, Method | EventChannel]]":
        """Return every member with its full name."""
        return [
            (Name(f"{self.name}/{member}"), definition)
            for table in (self.methods, self.channels)
            for member, definition in table.items()
        ]


Definition: TypeAlias = Method | EventChannel | VirtualObject
"""What a name stands for."""


class RegistrationId(NamedTuple):
    """Who registered: the same id replaces, others stand beside it (design 5)."""

    microservice: str
    version: str
    instance: str

    def __str__(self) -> str:
        return f"{self.microservice}/{self.version}/{self.instance}"


class DirectoryEndpoint(Struct, frozen=True, gc=False, omit_defaults=True):
    """What an endpoint told the resource directory (RFC 9176): its registration as it was made.

    ``base`` is where its resources are, ``given`` whether it said so itself; ``links`` are in
    CoRE link format, as they came.
    """

    name: str
    sector: str
    base: str
    given: bool
    links: str
    attributes: tuple[tuple[str, str], ...] = ()


class Registration(Struct, frozen=True, gc=False):
    """A microservice's registration as the catalog keeps it.

    ``owner`` is the principal that registered it, ``peer`` the address it came from (it may bind
    only that address, design 5), ``lease`` its period in seconds, 0 for none: it stays.
    ``generation`` grows with each registration of the same id, so that a late expiry never ends a
    newer registration.
    """

    id: RegistrationId
    owner: str
    peer: str
    lease: int
    generation: int
    objects: tuple[VirtualObject, ...]
    description: str = ""
    created: tuple[VirtualObject, ...] = ()
    live: bool = True
    deployment: Deployment = ""
    endpoint: DirectoryEndpoint | None = None

    def everything(self) -> tuple[VirtualObject, ...]:
        """Return the objects of the manifest and those created at run time."""
        return self.objects + self.created


class Offer(NamedTuple):
    """One registration's definition of a name (a method's endpoints included)."""

    registration: RegistrationId
    definition: Definition


class NameRecord(Struct, frozen=True, gc=False):
    """What a name is, whose it is, and who offers it, the earliest registration first."""

    name: Name
    kind: Kind
    owner: str
    offers: tuple[Offer, ...]


class ThingRecord(Struct, frozen=True, gc=False):
    """A W3C Thing Description as it was submitted, byte for byte (design 8).

    ``id`` is the description's own, or the one that the site gave an anonymous one; ``name`` is
    the virtual object that it became, offered by ``registration``. Times are Unix milliseconds,
    ``expires`` 0 means never. ``revision`` grows with each change of it.
    """

    id: str
    name: Name
    registration: RegistrationId
    owner: str
    text: str
    created: int
    modified: int
    revision: int
    expires: int = 0
    anonymous: bool = False


class OntologyRecord(Struct, frozen=True, gc=False):
    """An ontology or a model of a building or plant, as an operator loaded it: Turtle."""

    name: str
    owner: str
    text: str
    revision: int


class PolicyRecord(Struct, frozen=True, gc=False):
    """A policy as it was applied: ``spec`` is JSON text; the policy package gives it meaning."""

    kind: str
    name: str
    revision: int
    owner: str
    spec: str
    labels: dict[str, str] = field(default_factory=dict)
    expires: int = 0
    """Unix time in seconds after which it holds no longer; 0: for ever."""


class TokenRecord(Struct, frozen=True, gc=False):
    """The public part of a bearer token: only the SHA-256 of its secret is ever stored.

    Times are Unix seconds.
    """

    id: str
    digest: str
    principal: str
    kind: str
    issued: int
    expires: int
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class CredentialRecord(Struct, frozen=True, gc=False):
    """The public part of a credential that is no bearer token, and whose it is.

    ``lookup`` is what its holder presents to be looked up by (a user name, the URI in a
    certificate, a PSK identity, the name of an OSCORE context); it is never a principal itself.
    ``verifier`` is what the secret is compared with, by ``method``: a SHA-256 in hexadecimal, or
    argon2's text for a chosen password. Times are Unix seconds; ``expires`` 0 means never.
    """

    id: str
    method: Literal["secret", "password", "certificate", "psk", "oscore", "claim"]
    lookup: str
    verifier: str
    principal: str
    kind: str
    issued: int
    expires: int = 0
    note: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
