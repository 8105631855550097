"""Commands for the site's own authority; those that sign or revoke here need its key."""

import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.cli.policies import pairs
from gateway.identity.authority import AUTHORITY_DAYS, AuthorityFolder, write_secret
from gateway.message import Status
from gateway.settings import default_state
from policy.identity.principal_uris import uri_of
from policy.identity.site_ca import CertificateError, new_key, new_request
from policy.identity.tokens import is_kind
from registry.changes import CredentialIssued
from registry.model import CredentialRecord

T = TypeVar("T")

State = Annotated[
    Path | None, typer.Option("--state", help="The folder that keeps the site's state.")
]
Days = Annotated[int, typer.Option("--days", min=1, help="How long it is valid.")]
Out = Annotated[
    Path | None,
    typer.Option(help="What the files are called, without .pem and .key.", show_default="its name"),
]


def init(
    name: Annotated[str, typer.Option(help="What the authority is called.")] = "Hilum site",
    days: Days = AUTHORITY_DAYS,
    state: State = None,
) -> None:
    """Make the site's authority: a key, a certificate, an empty revocation list."""
    folder = _folder(state)
    _attempt(lambda: folder.create(name, days))
    say(str(folder.certificate))
    note(f"the key is in {folder.folder}, for its owner only; give the certificate to clients")


def issue(
    principal: Annotated[
        str, typer.Argument(metavar="[PRINCIPAL]", help="Whose it is, such as service:weather.")
    ] = "",
    host: Annotated[
        list[str] | None,
        typer.Option(help="For a listener: a host name or an address; may be given again."),
    ] = None,
    csr: Annotated[
        Path | None, typer.Option(help="A request (PKCS #10) whose key is kept elsewhere.")
    ] = None,
    kind: Annotated[str, typer.Option(help="The principal's kind.")] = "service",
    attribute: Annotated[
        list[str] | None, typer.Option(help="An attribute of the principal: key=value.")
    ] = None,
    days: Days = 90,
    out: Out = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Write to the state of a site that is not running.")
    ] = False,
    state: State = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Issue a certificate, for a principal or for a listener at hosts."""
    if bool(principal) == bool(host):
        refuse("say whose the certificate is: a principal, or --host for a listener's")
    prefix = out or Path((principal or (host or [""])[0]).replace("/", "_").replace(":", "-"))
    key = b"" if csr is not None else new_key()
    request = _attempt(csr.read_bytes) if csr is not None else new_request(key)
    attributes = pairs(attribute or [])
    if host:
        folder = _folder(state)
        issued = _attempt(lambda: folder.certify_server(request, host, days))
        told: dict[str, Any] = {"serial": issued.serial, "expires": issued.not_after}
        certificate = issued.pem
    elif offline:
        told, certificate = _offline(
            state or default_state(), principal, kind, attributes, request, days
        )
    else:
        asked = {"principal": principal, "kind": kind, "days": days, "attributes": attributes}
        text = request.decode("ascii", "replace")
        client = connect(url, token, token_file)
        told = dict(client.ask("identity/certify", asked | {"request": text}))
        certificate = str(told.pop("certificate")).encode()
        told.pop("authority", None)
    files = _write(prefix, certificate, key)
    if output is not Format.TABLE:
        data(output, told | {"files": files})
        return
    for file in files:
        say(file)
    note(f"serial {told['serial']}, valid until {_day(told['expires'])}")


def revoke(
    serial: Annotated[str, typer.Argument(metavar="SERIAL", help="As `hilum ca list` shows it.")],
    state: State = None,
) -> None:
    """Revoke a certificate: a running site reads the new list within seconds."""
    folder = _folder(state)
    _attempt(folder.certificate_pem)
    known = {record.serial for record in _attempt(folder.issued)}
    serial, given = serial.replace(":", "").lower(), serial  # openssl and browsers write it so
    if serial not in known:
        detail = f"this authority issued no certificate {given}"
        refuse(detail, hint="hilum ca list shows what it issued", status=Status.NOT_FOUND)
    _attempt(lambda: folder.revoke([serial]))
    say(f"{serial} revoked")


def list_certificates(state: State = None, output: Output = Format.TABLE) -> None:
    """List the certificates that this authority issued."""
    folder = _folder(state)
    revoked = _attempt(folder.revoked).serials
    items = [
        {
            "serial": record.serial,
            "for": record.principal or ", ".join(record.hosts),
            "expires": _day(record.expires),
            "revoked": record.serial in revoked,
        }
        for record in folder.issued()
    ]
    columns = ("serial", "for", "expires", "revoked")
    show(output, {"items": items}, columns, [[item[c] for c in columns] for item in items])


def _offline(
    state: Path, principal: str, kind: str, attributes: dict[str, str], request: bytes, days: int
) -> tuple[dict[str, Any], bytes]:
    """Sign a request and write the record of it into the log."""
    from adapters.cli.offline import append_offline  # the store is needed only here

    if not is_kind(kind):
        refuse(f"{kind!r} is no kind", status=Status.INVALID)
    issued = _attempt(lambda: _folder(state).certify(request, principal, days))
    record = CredentialRecord(
        f"certificate:{issued.serial}",
        "certificate",
        uri_of(principal),
        issued.fingerprint,
        principal,
        kind,
        int(time.time()),
        issued.not_after,
        "offline",
        attributes,
    )
    append_offline(state, CredentialIssued(record))
    told = {"id": record.id, "serial": issued.serial, "principal": principal}
    return told | {"expires": issued.not_after}, issued.pem


def _folder(state: Path | None) -> AuthorityFolder:
    folder = (state or default_state()) / "ca"
    return AuthorityFolder(folder, random=secrets.token_bytes, time=time.time)


def _attempt(work: Callable[[], T]) -> T:
    """Do something with files and certificates; what goes wrong ends the command."""
    try:
        return work()
    except FileExistsError as error:
        refuse(str(error), status=Status.CONFLICT, hint="move that folder away to begin anew")
    except FileNotFoundError as error:
        hint = "`hilum ca init` makes an authority; --state names the site's folder"
        refuse(f"there is no {error.filename}", status=Status.NOT_FOUND, hint=hint)
    except OSError as error:
        refuse(str(error), status=Status.UNAVAILABLE)
    except (CertificateError, ValueError) as error:
        refuse(str(error), status=Status.INVALID)


def _write(prefix: Path, certificate: bytes, key: bytes) -> list[str]:
    """Write a certificate and its key, which only its owner may read; return their names."""
    files = {prefix.with_name(prefix.name + ".pem"): certificate}
    if key:
        files[prefix.with_name(prefix.name + ".key")] = key
    for path, content in files.items():
        _attempt(partial(write_secret, path, content))
    return [str(path) for path in files]


def _day(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix))
