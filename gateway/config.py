"""The configuration: strict TOML, every setting with a default (docs/configuration.md).

An unknown setting is an error, not a silent default. Paths are relative to the file's folder.
"""

import os
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from gateway.strict_toml import MAX_FILE, ConfigError, parse
from registry.names import InvalidName, parse_authority
from registry.problems import quoted
from registry.urls import WEB, InvalidUrl, parse_url

_ENTRY = re.compile(
    r"(?P<host>[^:]+|\[[^]]+\])(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9A-Fa-f:./]+)"
)

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1 << 40)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
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
    """A listener's address and TLS files; port 0 lets the kernel choose."""

    host: str = "127.0.0.1"
    port: Port = 8080
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False


class Control(Listen, frozen=True, forbid_unknown_fields=True):
    """The control API's listener."""

    port: Port = 8081


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


class Coap(Struct, frozen=True, forbid_unknown_fields=True):
    """The CoAP listener: UDP, and on the same port TCP when ``tcp`` is set.

    Nobody authenticates on plain datagrams: unless ``anonymous`` is set they are refused.
    ``multicast`` answers discovery (RFC 7252 section 8).
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 5683
    tcp: bool = False
    websocket_port: Port | None = None
    anonymous: bool = False
    multicast: bool = False
    insecure: bool = False


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
    """Another site's gateway; ``token_file`` holds the bearer token that it issued to us."""

    authority: str
    url: str
    token_file: Path | None = None
    insecure: bool = False


class StoreRules(Struct, frozen=True, forbid_unknown_fields=True):
    """How much of the change log is kept behind a snapshot, and how often one is made (entries)."""

    keep_entries: Count = 10_000
    snapshot_every: Count = 10_000


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """What the program says on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    site: Site = field(default_factory=Site)
    http: Listen = Listen()
    control: Control = Control()
    mqtt: Mqtt = Mqtt()
    coap: Coap = Coap()
    limits: Limits = Limits()
    upstream: Upstream = Upstream()
    egress: EgressRules = EgressRules()
    remote: tuple[Remote, ...] = ()
    broker: tuple[Broker, ...] = ()
    store: StoreRules = StoreRules()
    log: Log = Log()


def load(path: Path | None = None) -> Config:
    """Read a configuration file, or return the defaults; raises ConfigError.

    What can only be judged together or on this machine is left to ``check``.
    """
    if path is None:
        return Config()
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    try:
        return parse(data, Config, path.absolute().parent)
    except ConfigError as error:
        raise ConfigError(*(f"{path}: {problem}" for problem in error.problems)) from None


def check(config: Config) -> None:
    """Raise ConfigError for what is wrong together, unsafe, or not there on this machine."""
    problems = [
        *_site_problems(config),
        *_listen_problems("http", config.http),
        *_listen_problems("control", config.control),
        *(_listen_problems("mqtt", config.mqtt) if config.mqtt.enabled else ()),
        *(_coap_problems(config.coap) if config.coap.enabled else ()),
        *_remote_problems(config),
        *_broker_problems(config),
        *_port_problems(config),
    ]
    limits = config.limits
    if limits.timeout > limits.timeout_cap:
        problems.append(f"[limits] timeout: is above timeout_cap ({limits.timeout_cap} ms)")
    for entry in config.egress.allow:
        said = _egress_problem(entry)
        if said:
            problems.append(f"[egress] allow: {quoted(entry)} {said}")
    if problems:
        raise ConfigError(*problems)


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a listener on ``host``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _site_problems(config: Config) -> Iterator[str]:
    site = config.site
    yield from _authority_problems("[site] authority", site.authority)
    for alias in site.aliases:
        yield from _authority_problems("[site] aliases", alias)
    if site.state.exists() and not site.state.is_dir():
        yield f"[site] state: {quoted(str(site.state))} is not a directory"


def _authority_problems(where: str, text: str) -> Iterator[str]:
    try:
        canonical = parse_authority(text)
    except InvalidName as error:
        yield f"{where}: {quoted(text)}: {error.reason}"
    else:
        if canonical != text:
            yield f"{where}: write {text} in lower case: {canonical}"


def _listen_problems(table: str, listen: Listen) -> Iterator[str]:
    certificate, key = listen.tls_certificate, listen.tls_key
    try:
        ip_address(listen.host)
    except ValueError:
        yield from _authority_problems(f"[{table}] host", listen.host)
    if (certificate is None) != (key is None):
        missing = "tls_key" if key is None else "tls_certificate"
        yield f"[{table}] {missing}: is missing; TLS needs both files"
    for setting, path in (("tls_certificate", certificate), ("tls_key", key)):
        if path is not None and not path.is_file():
            yield f"[{table}] {setting}: there is no file {quoted(str(path))}"
    if certificate is None and not listen.insecure and not is_loopback(listen.host):
        yield (
            f"[{table}] host: {listen.host} can be reached from other machines without TLS; set "
            "tls_certificate and tls_key, or insecure = true if that is meant"
        )


def _coap_problems(coap: Coap) -> Iterator[str]:
    if not coap.insecure and not is_loopback(coap.host):
        yield (
            f"[coap] host: {coap.host} can be reached from other machines, and plain CoAP is not "
            "encrypted; use OSCORE and set insecure = true if that is meant"
        )


def _port_problems(config: Config) -> Iterator[str]:
    """Two TCP listeners cannot share an address and port; 0 never clashes."""
    http, control, mqtt, coap = config.http, config.control, config.mqtt, config.coap
    listeners: list[tuple[str, str, int | None]] = [
        ("[http] port", http.host, http.port),
        ("[control] port", control.host, control.port),
    ]
    if mqtt.enabled:
        listeners.append(("[mqtt] port", mqtt.host, mqtt.port))
        listeners.append(("[mqtt] websocket_port", mqtt.host, mqtt.websocket_port))
    if coap.enabled and coap.tcp:
        listeners.append(("[coap] port", coap.host, coap.port))
    if coap.enabled:
        listeners.append(("[coap] websocket_port", coap.host, coap.websocket_port))
    taken: dict[tuple[str, int], str] = {}
    for setting, host, port in listeners:
        if port:
            other = taken.setdefault((host, port), setting)
            if other != setting:
                yield f"{setting}: {port} is taken by {other}; choose another"


def _broker_problems(config: Config) -> Iterator[str]:
    for number, broker in enumerate(config.broker, 1):
        where = f"[[broker]] {number}"
        try:
            url = parse_url(broker.url, schemes=("mqtt", "mqtts"))
        except InvalidUrl as error:
            yield f"{where} url: {error}"
        else:
            readable = url.scheme == "mqtt" and not is_loopback(url.host)
            if broker.password_file is not None and readable and not broker.insecure:
                said = "a password would travel readably; use mqtts, or set insecure = true"
                yield f"{where} url: {said}"
        for setting, path in (("password_file", broker.password_file), ("ca", broker.ca)):
            if path is not None and not path.is_file():
                yield f"{where} {setting}: there is no file {quoted(str(path))}"


def _remote_problems(config: Config) -> Iterator[str]:
    taken = {config.site.authority, *config.site.aliases}
    for number, remote in enumerate(config.remote, 1):
        where = f"[[remote]] {number}"
        yield from _authority_problems(f"{where} authority", remote.authority)
        if remote.authority in taken:
            yield f"{where} authority: {remote.authority} is this site's or another remote's"
        taken.add(remote.authority)
        if remote.token_file is not None and not remote.token_file.is_file():
            yield f"{where} token_file: there is no file {quoted(str(remote.token_file))}"
        try:
            url = parse_url(remote.url, schemes=WEB)
        except InvalidUrl as error:
            yield f"{where} url: {error}"
            continue
        if url.scheme == "http" and not remote.insecure and not is_loopback(url.host):
            yield f"{where} url: a token would travel readably; use https, or set insecure = true"


def _egress_problem(entry: str) -> str:
    match = _ENTRY.fullmatch(entry)
    host = "" if match is None else match["bare"] or match["host"]
    if match is not None and int(match["port"] or 0) > 65_535:
        return "has a port above 65535"
    try:
        ip_network(host.strip("[]"))
    except ValueError as error:
        if "host bits" in str(error):
            network = ip_network(host.strip("[]"), strict=False)
            return f"has host bits set; write {network} for the whole network"
        try:
            parse_authority(host)
        except InvalidName:
            return "is neither a network such as 10.0.0.0/8 nor a host name, each with :port or not"
    return ""
