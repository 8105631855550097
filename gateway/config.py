"""Reads the configuration, a strict TOML file (docs/configuration.md), and checks it.

Paths are relative to the file's folder.
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from pathlib import Path

from gateway.settings import Coap, Config, Directory, Issuer, Listen, Remote
from gateway.strict_toml import MAX_FILE, ConfigError, parse
from registry.names import InvalidName, parse_authority
from registry.problems import quoted
from registry.urls import WEB, InvalidUrl, parse_url

_ENTRY = re.compile(
    r"(?P<host>[^:]+|\[[^]]+\])(?::(?P<port>[0-9]{1,5}))?|(?P<bare>[0-9A-Fa-f:./]+)"
)

_REALM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PUBLIC = {
    "directory": WEB,
    "http": WEB,
    "mqtt": ("mqtt", "mqtts"),
    "coap": ("coap", "coaps", "coap+tcp", "coaps+tcp"),
}
"""What a site may be reached as, and the schemes."""
_OWN_REALMS = frozenset({"site", "anonymous", "newcomer"})
"""Whoever else could say who is in these could be whom the site itself means."""


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
    # What reads Turtle takes a while to import, and a client needs none of this.
    from gateway.directory.ontologies import problems_of as ontology_problems

    problems = [
        *_site_problems(config),
        *_listen_problems("http", config.http),
        *_listen_problems("control", config.control),
        *_directory_problems(config.directory),
        *(_listen_problems("mqtt", config.mqtt) if config.mqtt.enabled else ()),
        *(_coap_problems(config.coap) if config.coap.enabled else ()),
        *_issuer_problems(config),
        *_realm_problems(config),
        *_remote_problems(config),
        *_broker_problems(config),
        *_trace_problems(config),
        *ontology_problems(config.registry),
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
    certificate = listen.tls_certificate
    yield from _tls_problems(table, listen)
    if certificate is None and not listen.insecure and not is_loopback(listen.host):
        yield (
            f"[{table}] host: {listen.host} can be reached from other machines without TLS; set "
            "tls_certificate and tls_key, or insecure = true if that is meant"
        )


def _directory_problems(directory: Directory) -> Iterator[str]:
    if directory.enabled:
        yield from _listen_problems("directory", directory)
    if directory.announce and find_spec("zeroconf") is None:
        yield "[directory] announce: needs libraries: pip install 'hilum[dns-sd]'"
    for key, text in directory.public.items():
        schemes = _PUBLIC.get(key)
        if schemes is None:
            yield f"[directory] public: {quoted(key)} is not known; there are {', '.join(_PUBLIC)}"
        elif not any(
            re.fullmatch(rf"{re.escape(scheme)}://[^/?#@\s]+", text) for scheme in schemes
        ):
            yield (
                f"[directory] public: {key}: {quoted(text)} is not of the form "
                f"{schemes[0]}://host:port"
            )


def _tls_problems(table: str, listen: Listen) -> Iterator[str]:
    certificate, key = listen.tls_certificate, listen.tls_key
    try:
        ip_address(listen.host)
    except ValueError:
        yield from _authority_problems(f"[{table}] host", listen.host)
    if (certificate is None) != (key is None):
        missing = "tls_key" if key is None else "tls_certificate"
        yield f"[{table}] {missing}: is missing; TLS needs both files"
    files = {
        "tls_certificate": certificate,
        "tls_key": key,
        "client_ca": listen.client_ca,
        "client_crl": listen.client_crl,
    }
    for setting, path in files.items():
        if path is not None and not path.is_file():
            yield f"[{table}] {setting}: there is no file {quoted(str(path))}"
    if listen.client_certificates != "none" and certificate is None:
        yield f"[{table}] client_certificates: needs tls_certificate and tls_key"
    if (listen.client_ca is None) != (not listen.client_realm):
        yield (
            f"[{table}] client_realm: belongs to client_ca, authorities that are not the site's "
            "own: whom they certify is in a realm of their own"
        )
    if listen.client_realm and not _REALM.fullmatch(listen.client_realm):
        yield f"[{table}] client_realm: {quoted(listen.client_realm)} is no realm: use a-z, 0-9, -"
    if listen.client_crl is not None and listen.client_ca is None:
        yield f"[{table}] client_crl: belongs to client_ca"


def _coap_problems(coap: Coap) -> Iterator[str]:
    yield from _tls_problems("coap", coap)
    if coap.tls_port is not None and coap.tls_certificate is None:
        yield "[coap] tls_port: TLS needs tls_certificate and tls_key"
    for text in coap.unspoofable:
        if not _is_network(text):
            yield f"[coap] unspoofable: {quoted(text)} is no network such as 192.0.2.0/24"
    if coap.dtls_port is not None and find_spec("mbedtls") is None:
        yield "[coap] dtls_port: needs a library that is not installed: pip install 'hilum[dtls]'"
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
    if config.directory.enabled:
        listeners.append(("[directory] port", config.directory.host, config.directory.port))
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


def _issuer_problems(config: Config) -> Iterator[str]:
    realms = set(_OWN_REALMS)
    for number, issuer in enumerate(config.issuer, 1):
        where = f"[[issuer]] {number}"
        for setting, text in (("url", issuer.url), ("jwks_uri", issuer.jwks_uri)):
            if text:
                yield from _issuer_url_problems(f"{where} {setting}", text, issuer)
        if not issuer.audience:
            yield f"{where} audience: is empty; tokens for others would be believed"
        if issuer.realm in realms or not _REALM.fullmatch(issuer.realm):
            yield (
                f"{where} realm: {quoted(issuer.realm)} is taken or no realm; use up to 64 "
                "letters, digits and . _ -, another one for each issuer"
            )
        realms.add(issuer.realm)
        if issuer.client_id and issuer.client_id == issuer.audience:
            yield (
                f"{where} client_id: is the audience too; then what is meant for a browser's login "
                "would be a bearer token: name another audience"
            )
    yield from _login_problems(config)


def _realm_problems(config: Config) -> Iterator[str]:
    """Yield realms that two authorities have: equal subjects of both would be one principal."""
    taken = _OWN_REALMS | {issuer.realm for issuer in config.issuer}
    authorities: dict[str, Path | None] = {}
    listeners: dict[str, Listen | Coap] = {
        "http": config.http,
        "control": config.control,
        "directory": config.directory,
        "mqtt": config.mqtt,
        "coap": config.coap,
    }
    for table, listen in listeners.items():
        realm = listen.client_realm
        if realm and (
            realm in taken or authorities.setdefault(realm, listen.client_ca) != listen.client_ca
        ):
            yield (
                f"[{table}] client_realm: {quoted(realm)} is taken; each issuer and each client_ca "
                "has a realm of its own"
            )


def _login_problems(config: Config) -> Iterator[str]:
    login = config.control.login
    if not login:
        return
    issuer = next((one for one in config.issuer if one.realm == login), None)
    if issuer is None:
        yield f"[control] login: there is no [[issuer]] of realm {quoted(login)}"
    elif not issuer.client_id:
        yield f"[control] login: the [[issuer]] of realm {quoted(login)} has no client_id"


def _issuer_url_problems(where: str, text: str, issuer: Issuer) -> Iterator[str]:
    try:
        url = parse_url(text, schemes=WEB)
    except InvalidUrl as error:
        yield f"{where}: {error}"
    else:
        if url.scheme == "http" and not (issuer.insecure and is_loopback(url.host)):
            yield f"{where}: keys must come over https (insecure = true allows http on loopback)"


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
        yield from _remote_file_problems(where, remote)
        try:
            url = parse_url(remote.url, schemes=WEB)
        except InvalidUrl as error:
            yield f"{where} url: {error}"
            continue
        if url.scheme == "http" and not remote.insecure and not is_loopback(url.host):
            yield f"{where} url: a token would travel readably; use https, or set insecure = true"


def _trace_problems(config: Config) -> Iterator[str]:
    trace = config.trace
    if not trace.endpoint:
        return
    try:
        url = parse_url(trace.endpoint, schemes=WEB)
    except InvalidUrl as error:
        yield f"[trace] endpoint: {error}"
        return
    if url.scheme == "http" and not trace.insecure and not is_loopback(url.host):
        yield "[trace] endpoint: spans would travel readably; use https, or set insecure = true"


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


def _remote_file_problems(where: str, remote: Remote) -> Iterator[str]:
    for setting in ("token_file", "certificate", "key", "ca"):
        path = getattr(remote, setting)
        if path is not None and not path.is_file():
            yield f"{where} {setting}: there is no file {quoted(str(path))}"
    if (remote.certificate is None) != (remote.key is None):
        yield f"{where} certificate: a certificate and its key belong together"
    if remote.follow and remote.certificate is None and remote.token_file is None:
        said = "say who we are there, with certificate and key or with token_file"
        yield f"{where} follow: {said}"
    if remote.forget_seconds < remote.stale_seconds:
        yield f"{where} forget_seconds: what is known is stale first: make it longer"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
