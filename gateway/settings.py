"""The settings of a site, each with a default; sections are as in the file.

An unknown setting is an error, not a silent default (docs/configuration.md).
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1 << 40)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
]
"""Of signatures by public keys (RFC 7518, RFC 9864): no others are believed."""
Milliseconds = Annotated[int, Meta(ge=1, le=86_400_000)]


def default_state() -> Path:
    """Return where a site keeps its state: one place per user, whatever directory it starts in.

    The variable ``HILUM_STATE`` names another place, for the site and its command line alike.
    """
    if named := os.environ.get("HILUM_STATE", ""):
        return Path(named)
    if os.geteuid() == 0:
        return Path("/var/lib/hilum")
    base = os.environ.get("XDG_STATE_HOME", "")
    # The base directory specification says to ignore a relative path.
    return (Path(base) if base.startswith("/") else Path.home() / ".local/state") / "hilum"


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """Who this site is, and the folder that keeps its change log, events and admin token."""

    authority: str = "localhost"
    aliases: tuple[str, ...] = ()
    state: Path = field(default_factory=default_state)


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """A listener's address and TLS files; port 0 lets the kernel choose.

    With ``client_certificates`` clients may show, or have to show, certificates of the site's own
    authority. ``client_ca`` are other authorities, ``client_crl`` what they revoked; who shows one
    of theirs is ``client_realm:`` and the subject that its URI names.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_certificates: Literal["none", "optional", "required"] = "none"
    client_ca: Path | None = None
    client_crl: Path | None = None
    client_realm: str = ""
    insecure: bool = False


class Control(Listen, frozen=True, forbid_unknown_fields=True):
    """The control API's listener; ``login`` names the issuer that people log in at."""

    port: Port = 8081
    login: str = ""


class Directory(Listen, frozen=True, forbid_unknown_fields=True):
    """The directory's own listener, with neither operators' routes nor logins; off by default.

    ``public`` are the URLs under which clients reach this site's listeners, where those are not
    what they listen on: ``directory``, ``http``, ``mqtt``, ``coap``. With ``unknown_contexts``
    descriptions may name JSON-LD contexts that the site does not know; none is ever fetched.
    """

    enabled: bool = False
    port: Port = 8082
    public: dict[str, str] = {}
    announce: bool = False
    """Tell the local network of the directory (DNS-SD), whichever listener serves it."""
    unknown_contexts: bool = False


class Mqtt(Listen, frozen=True, forbid_unknown_fields=True):
    """The MQTT listener, and what its sessions may hold; sizes in bytes, times in seconds.

    ``websocket_port`` serves MQTT over WebSocket on the same host: 0 lets the kernel choose, none
    is opened without it. A session that outlives its connection ends ``session_expiry`` later at
    most. ``anonymous`` lets clients connect without a token; policy decides what they may do.
    """

    enabled: bool = True
    port: Port = 1883
    websocket_port: Port | None = None
    anonymous: bool = False
    connections: Count = 20_000
    connect_seconds: Seconds = 10.0
    keep_alive: Annotated[int, Meta(ge=1, le=65_535)] = 3600
    packet: Annotated[int, Meta(ge=128, le=268_435_455)] = 2 * 1024 * 1024
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 256
    topic_aliases: Annotated[int, Meta(ge=0, le=65_535)] = 64
    subscriptions: Count = 10_000
    queue: Annotated[int, Meta(ge=1, le=60_000)] = 1000
    queue_bytes: Count = 8 * 1024 * 1024
    session_expiry: Annotated[int, Meta(ge=0, le=4_294_967_295)] = 7 * 86_400
    cloudevents: bool = True


class Coap(Listen, frozen=True, forbid_unknown_fields=True):
    """The CoAP listener: UDP, and on the same port TCP when ``tcp`` is set.

    Nobody authenticates on plain datagrams: unless ``anonymous`` is set they are refused.
    ``multicast`` answers discovery (RFC 7252 section 8). ``tls_port`` serves CoAP over TLS,
    ``dtls_port`` over DTLS with pre-shared keys: 0 lets the kernel choose. ``unspoofable`` are
    networks whose routers let nobody send from another's address: who asks from there is not asked
    to show itself (RFC 9175). It authorises nobody to anything.
    """

    enabled: bool = True
    port: Port = 5683
    tcp: bool = False
    tls_port: Port | None = None
    dtls_port: Port | None = None
    websocket_port: Port | None = None
    anonymous: bool = False
    multicast: bool = False
    unspoofable: tuple[str, ...] = ()


class Broker(Struct, frozen=True, forbid_unknown_fields=True):
    """How to log in at an MQTT broker that endpoints and sources live on (``mqtt://host``)."""

    url: str
    username: str = ""
    password_file: Path | None = None
    ca: Path | None = None
    insecure: bool = False


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What one client can make the data listener hold; sizes in bytes, 0 means none where said.

    ``timeout`` and ``timeout_cap`` are milliseconds, as ``Hilum-Timeout`` is.
    """

    head: Count = 64 * 1024
    fields: Count = 128
    body: Annotated[int, Meta(ge=0)] = 0
    """0: no limit, because payloads stream through."""
    message: Count = 1024 * 1024
    swallow: Count = 1024 * 1024
    pipelined: Count = 32
    connections: Count = 10_000
    requests: Count = 100_000
    head_seconds: Seconds = 10.0
    body_seconds: Seconds = 30.0
    idle_seconds: Seconds = 75.0
    drain_seconds: Seconds = 30.0
    timeout: Milliseconds = 30_000
    timeout_cap: Milliseconds = 300_000


class Upstream(Struct, frozen=True, forbid_unknown_fields=True):
    """Connections to one origin (scheme, host, port); times in seconds."""

    connections: Count = 128
    waiting: Count = 1024
    connect: Seconds = 5.0
    idle: Seconds = 4.0
    first_byte: Seconds = 300.0
    stall: Seconds = 60.0


class EgressRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a registrant may bind beyond its own address: networks or hosts, ``:port`` optional."""

    allow: tuple[str, ...] = ()


class Remote(Struct, frozen=True, forbid_unknown_fields=True):
    """Another site's gateway; ``token_file`` holds the bearer token that it issued to us.

    With ``follow`` its directory is part of ours: as much of it as it lets us describe, who we
    show to be with ``certificate`` and ``key``, or the token. ``ca`` is what its certificate
    is believed by. What it says is stale after ``stale_seconds`` without an answer, and forgotten
    after ``forget_seconds``.
    """

    authority: str
    url: str
    token_file: Path | None = None
    insecure: bool = False
    follow: bool = False
    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    stale_seconds: Seconds = 30.0
    forget_seconds: Annotated[float, Meta(gt=0, le=366 * 86_400)] = 3600.0


class Issuer(Struct, frozen=True, forbid_unknown_fields=True):
    """An OpenID provider whose tokens are believed (docs/identity.md); times in seconds.

    A token's subject is the principal ``realm:sub``. Its ``audience`` must be the one said here.
    The provider's keys come from ``jwks_uri``, or are found as OpenID Connect Discovery says.
    ``kind`` is that of its principals, unless the claim ``kind_claim`` says another that ``kinds``
    allows; ``roles_claim`` holds roles, ``attributes`` maps attributes to claims. ``client_id`` and
    ``client_secret_file`` are for people who log in with a browser.
    """

    url: str
    realm: str
    audience: str
    jwks_uri: str = ""
    algorithms: tuple[Algorithm, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway: Annotated[float, Meta(ge=0, le=300)] = 30.0
    kind: str = "user"
    kind_claim: str = ""
    kinds: tuple[str, ...] = ()
    roles_claim: str = ""
    attributes: dict[str, str] = {}
    client_id: str = ""
    client_secret_file: Path | None = None
    ca: Path | None = None
    insecure: bool = False


class IdentityRules(Struct, frozen=True, forbid_unknown_fields=True):
    """How clients authenticate: threads and queue for chosen passwords, failures before back-off.

    ``backoff`` and ``backoff_cap`` are seconds that a source waits after ``failures``.
    """

    password_threads: Annotated[int, Meta(ge=1, le=64)] = 2
    password_queue: Count = 20_000
    failures: Count = 5
    backoff: Seconds = 1.0
    backoff_cap: Seconds = 300.0
    sessions: Count = 1000
    session_idle: Seconds = 1800.0
    session_hours: Annotated[float, Meta(gt=0, le=24 * 30)] = 12.0


class Audit(Struct, frozen=True, forbid_unknown_fields=True):
    """The audit log in ``<state>/audit``; ``allows`` records what was allowed too. Sizes in bytes.

    ``required`` refuses changes that cannot be recorded.
    """

    enabled: bool = True
    allows: bool = False
    required: bool = False
    file: Annotated[int, Meta(ge=4096, le=1 << 32)] = 16 * 1024 * 1024
    files: Count = 64


class Trace(Struct, frozen=True, forbid_unknown_fields=True):
    """Where spans go (OTLP over HTTP, such as ``http://127.0.0.1:4318``), and how many of them.

    ``sample`` is the share of calls that are traced unasked.
    """

    endpoint: str = ""
    sample: Annotated[float, Meta(ge=0, le=1)] = 0.01
    insecure: bool = False


class FirstUse(Struct, frozen=True, forbid_unknown_fields=True):
    """The plug-ins (``module:attribute``) that policies may name as controllers."""

    plugins: tuple[str, ...] = ()


class Registry(Struct, frozen=True, forbid_unknown_fields=True):
    """What the site knows of its world: ``ontologies`` are Turtle files, read at each start.

    The limits are those of one ontology, from a file or loaded by an operator.
    """

    ontologies: tuple[Path, ...] = ()
    ontology_bytes: Annotated[int, Meta(ge=1024, le=256 * 1024 * 1024)] = 16 * 1024 * 1024
    ontology_triples: Annotated[int, Meta(ge=1, le=20_000_000)] = 2_000_000


class StoreRules(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the change log is kept behind a snapshot, and how often one is made (entries)."""

    keep_entries: Count = 10_000
    snapshot_every: Count = 10_000


class Search(Struct, frozen=True, forbid_unknown_fields=True):
    """What one search may use: seconds, rows of SPARQL, bytes of an answer and of memory.

    ``running`` queries run at a time, ``waiting`` wait. ``services`` are the endpoints that a
    query's SERVICE may name: none by default.
    """

    seconds: Seconds = 10.0
    rows: Count = 10_000
    size: Annotated[int, Meta(ge=1024, le=15 * 1024 * 1024)] = 8 * 1024 * 1024
    memory: Count = 512 * 1024 * 1024
    running: Annotated[int, Meta(ge=1, le=64)] = 2
    waiting: Annotated[int, Meta(ge=1, le=4096)] = 64
    services: tuple[str, ...] = ()


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What the program says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    site: Site = field(default_factory=Site)
    http: Listen = Listen()
    control: Control = Control()
    directory: Directory = Directory()
    mqtt: Mqtt = Mqtt()
    coap: Coap = Coap()
    limits: Limits = Limits()
    upstream: Upstream = Upstream()
    egress: EgressRules = EgressRules()
    remote: tuple[Remote, ...] = ()
    broker: tuple[Broker, ...] = ()
    issuer: tuple[Issuer, ...] = ()
    identity: IdentityRules = IdentityRules()
    audit: Audit = Audit()
    trace: Trace = Trace()
    first_use: FirstUse = FirstUse()
    registry: Registry = Registry()
    store: StoreRules = StoreRules()
    search: Search = Search()
    log: Log = Log()
