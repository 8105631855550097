"""Commands that run a site or look at its configuration: serve, check, version."""

import errno
import json
import platform
import re
import shlex
import ssl
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import msgspec
import typer

from adapters.cli.logs import set_up_logging
from adapters.cli.options import ADMIN_TOKEN, DEFAULT_URL, refuse
from adapters.cli.output import Format, data, note, say, show
from gateway.config import check, load
from gateway.message import Status
from gateway.ports import StoreError
from gateway.settings import Coap, Config, Listen, Mqtt, default_state
from gateway.strict_toml import ConfigError

if TYPE_CHECKING:
    from adapters.main import Application

L = TypeVar("L", bound=Listen | Coap)
D = TypeVar("D", Mqtt, Coap)

LABELS = {
    "directory": "directory",
    "mqtt": "MQTT",
    "mqtt_websocket": "MQTT WebSocket",
    "coap": "CoAP",
    "coap_tcp": "CoAP over TCP",
    "coap_tls": "CoAP over TLS",
    "coap_dtls": "CoAP over DTLS",
}
"""What the listeners for devices are called to people."""

_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:]*):([0-9]{1,5})")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="HILUM_CONFIG", help="The configuration, a TOML file."),
]
Form = Annotated[Format, typer.Option("--output", "-o", help="How the result is printed.")]


def serve(
    config: ConfigFile = None,
    state: Annotated[
        Path | None, typer.Option(help="The folder that keeps the site's state.")
    ] = None,
    http: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The data listener; port 0: any free one.")
    ] = "",
    control: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The control API; port 0: any free one.")
    ] = "",
    mqtt: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The MQTT listener; off: none.")
    ] = "",
    coap: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="The CoAP listener; off: none.")
    ] = "",
    output: Form = Format.TABLE,
) -> None:
    """Run a site until it is told to stop (Ctrl-C, SIGTERM); it then ends what is open first.

    Nothing needs to be configured. --output json prints one line when the site is ready.
    """
    settings = _configuration(config)
    site = settings.site if state is None else msgspec.structs.replace(settings.site, state=state)
    settings = msgspec.structs.replace(
        settings,
        site=site,
        http=_listen(settings.http, http, "--http"),
        control=_listen(settings.control, control, "--control"),
        mqtt=_optional(settings.mqtt, mqtt, "--mqtt"),
        coap=_optional(settings.coap, coap, "--coap"),
    )
    _checked(settings, config)
    set_up_logging(settings.log)
    from adapters.main import serve as run

    try:
        run(settings, lambda application: _ready(application, output))
    except ConfigError as error:
        _refuse_config(config, error)
    except (StoreError, OSError) as error:
        _failed(settings, error)


def check_config(config: ConfigFile = None, output: Form = Format.TABLE) -> None:
    """Check the configuration, and print what is in force with all defaults."""
    settings = _configuration(config)
    _checked(settings, config)
    from gateway.directory.ontologies import Given

    try:
        Given(settings.registry).read()
    except ConfigError as error:
        _refuse_config(config, error)
    document = msgspec.to_builtins(settings, enc_hook=str)
    rows = [
        [f"[{table}]", key, _setting(value)]
        for table, settings_of in document.items()
        if isinstance(settings_of, dict)
        for key, value in settings_of.items()
    ]
    rows += [["[[remote]]", one["authority"], one["url"]] for one in document["remote"]]
    rows += [["[[broker]]", one["username"], one["url"]] for one in document["broker"]]
    show(output, document, ("table", "setting", "value"), rows)
    note(f"{config or 'the default configuration'} is fine")


def version(output: Form = Format.TABLE) -> None:
    """Print the versions of Hilum and of what it runs on."""
    packages = ("uvloop", "httptools", "mqtt5", "aiocoap", "msgspec", "starlette", "uvicorn")
    versions = {
        "hilum": own_version(),
        "python": platform.python_version(),
        **{name: _version_of(name) for name in packages},
    }
    if output is Format.TABLE:
        say(f"hilum {versions['hilum']}")
        note(", ".join(f"{name} {number}" for name, number in list(versions.items())[1:]))
    else:
        data(output, versions)


def own_version() -> str:
    """Return the version of the distribution that is installed."""
    return _version_of("hilum")


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def _configuration(path: Path | None) -> Config:
    try:
        return load(path)
    except ConfigError as error:
        _refuse_config(path, error)


def _checked(settings: Config, path: Path | None) -> None:
    try:
        check(settings)
    except ConfigError as error:
        _refuse_config(path, error)
    _load_certificates(settings)


def _load_certificates(settings: Config) -> None:
    """Load what TLS needs once, to say whose does not load: OpenSSL names no file."""
    listeners: dict[str, Listen] = {"http": settings.http, "control": settings.control}
    if settings.directory.enabled:
        listeners["directory"] = settings.directory
    if settings.mqtt.enabled:
        listeners["mqtt"] = settings.mqtt
    for table, listen in listeners.items():
        if listen.tls_certificate is None:
            continue
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(listen.tls_certificate, listen.tls_key)
        except OSError as error:
            refuse(
                f"[{table}] {listen.tls_certificate} and {listen.tls_key} do not load: {error}",
                status=Status.INVALID,
                hint="PEM files that fit together: the certificate with its chain, and its key",
            )


def _refuse_config(path: Path | None, error: ConfigError) -> NoReturn:
    said = "\n       ".join(
        f"{path}: {problem}" if path and str(path) not in problem else problem
        for problem in error.problems
    )
    hint = "docs/configuration.md lists every setting; hilum check shows those in force"
    refuse(said, status=Status.INVALID, hint=hint)


def _listen(listen: L, text: str, option: str) -> L:
    if not text:
        return listen
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        refuse(f"{option} {text!r} is no address", hint="write HOST:PORT, such as 127.0.0.1:8080")
    host = match[1].strip("[]") or listen.host
    return msgspec.structs.replace(listen, host=host, port=int(match[2]))


def _optional(listen: D, text: str, option: str) -> D:
    """Change a listener that a site can do without."""
    if text == "off":
        return msgspec.structs.replace(listen, enabled=False)
    return msgspec.structs.replace(
        _listen(listen, text, option), enabled=listen.enabled or bool(text)
    )


def _failed(settings: Config, error: Exception) -> NoReturn:
    """Say why a site could not start or go on."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        hint = (
            "another site or broker may be running; --http, --control, --mqtt and --coap choose "
            "other ports, 0 any"
        )
        refuse(f"an address is in use: {error.strerror}", status=Status.UNAVAILABLE, hint=hint)
    if isinstance(error, StoreError):
        hint = f"the state is in {settings.site.state}; --state chooses another folder"
        refuse(str(error), status=Status.UNAVAILABLE, hint=hint)
    refuse(f"cannot serve: {error}", status=Status.UNAVAILABLE)


def _ready(application: "Application", output: Format) -> None:
    """Say where the site is and what to do next."""
    config = application.config
    http = _url(config.http, application.http_port)
    control = _url(config.control, application.control_port)
    own = _device_listeners(application)
    token_file = (config.site.state / ADMIN_TOKEN).absolute()
    if output is Format.JSON:
        ready = {"http": http, "control": control, **own, "token_file": str(token_file)}
        typer.echo(json.dumps(ready))
        return
    say(f"Hilum {own_version()} serves the site {config.site.authority}", "bold")
    say(f"  data listener  {http}")
    for listener, url in own.items():
        say(f"  {LABELS[listener]:14} {url}")
    say(f"  control API    {control}  (a page of links; /openapi.json describes it)")
    say(f"  admin token    {token_file}")
    say("\nIn another terminal:")
    if http != DEFAULT_URL:
        say(f"  export HILUM_URL={http}")
    if config.site.state.absolute() != default_state().absolute():
        say(f"  export HILUM_TOKEN_FILE={shlex.quote(str(token_file))}")
    say("  hilum registry list")
    say("  hilum token issue service:weather")
    say("  hilum --help")
    sys.stdout.flush()


def _device_listeners(application: "Application") -> dict[str, str]:
    """Return the URLs of the listeners that are open beside HTTP's and the control API's."""
    config, found = application.config, {}
    if application.directory.port:
        found["directory"] = _url(config.directory, application.directory.port)
    devices = application.devices
    if devices.mqtt_port:
        scheme = "mqtts" if config.mqtt.tls_certificate else "mqtt"
        found["mqtt"] = _address(scheme, config.mqtt.host, devices.mqtt_port)
    if devices.mqtt_websocket_port:
        scheme = "wss" if config.mqtt.tls_certificate else "ws"
        url = _address(scheme, config.mqtt.host, devices.mqtt_websocket_port)
        found["mqtt_websocket"] = f"{url}/mqtt"
    if devices.coap_port:
        found["coap"] = _address("coap", config.coap.host, devices.coap_port)
        if config.coap.tcp:
            found["coap_tcp"] = _address("coap+tcp", config.coap.host, devices.coap_port)
    if devices.coap_tls_port:
        found["coap_tls"] = _address("coaps+tcp", config.coap.host, devices.coap_tls_port)
    if devices.coap_dtls_port:
        found["coap_dtls"] = _address("coaps", config.coap.host, devices.coap_dtls_port)
    return found


def _url(listen: Listen, port: int) -> str:
    return _address("https" if listen.tls_certificate else "http", listen.host, port)


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _setting(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
