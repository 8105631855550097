"""Commands for devices: their claim tokens and their credentials."""

import time
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.cli.policies import NOT_DURABLE, pairs
from adapters.cli.tokens import duration

Device = Annotated[
    str, typer.Argument(metavar="PRINCIPAL", help="The device, such as device:thermometer.")
]
Kind = Annotated[str, typer.Option("--kind", help="device, service, or a kind of your own.")]
Ttl = Annotated[str, typer.Option("--ttl", help="How long the claim token counts: 15m, 12h, 30d.")]
Remark = Annotated[str, typer.Option("--note", help="What it is for.")]
Attribute = Annotated[
    list[str] | None, typer.Option("--attribute", help="An attribute of the device: key=value.")
]


def add(
    principal: Device,
    kind: Kind = "device",
    ttl: Ttl = "24h",
    remark: Remark = "",
    attribute: Attribute = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Let a device in: prints a claim token, which it exchanges for a credential, once."""
    asked = {"principal": principal, "kind": kind, "ttl": duration(ttl), "note": remark}
    client = connect(url, token, token_file)
    _told(client.ask("identity/add", asked | {"attributes": pairs(attribute or [])}), output)


def rotate(
    principal: Device,
    kind: Kind = "device",
    overlap: Annotated[
        str, typer.Option(help="How long what it has still counts, once it has claimed.")
    ] = "1h",
    ttl: Ttl = "24h",
    attribute: Attribute = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Let a device claim a new credential; those that it has end a while after that."""
    asked = {"principal": principal, "kind": kind, "ttl": duration(ttl)}
    asked |= {"overlap": duration(overlap), "attributes": pairs(attribute or [])}
    _told(connect(url, token, token_file).ask("identity/add", asked), output)


def revoke(
    id_: Annotated[
        str, typer.Argument(metavar="[ID]", help="One credential, as the list shows it.")
    ] = "",
    principal: Annotated[str, typer.Option(help="All that this device has.")] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Revoke credentials of devices: what is open with them ends at once."""
    if bool(id_) == bool(principal):
        refuse("say either the id of a credential or --principal", hint="see hilum device list")
    asked = {"id": id_, "principal": principal}
    answer = connect(url, token, token_file).ask("identity/revoke", asked)
    if output is not Format.TABLE:
        data(output, answer)
        return
    for revoked in answer["revoked"]:
        say(f"{revoked} revoked")
    if not answer["revoked"]:  # an issuer's tokens, which no list here knows
        note(f"{principal} had no credential here; tokens of issuers until now end, too")
    if not answer["durable"]:
        note(NOT_DURABLE, "yellow")


def list_credentials(
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List credentials by what is public of them, and claim tokens that are not used yet."""
    answer = connect(url, token, token_file).ask("identity/list", {})
    rows = [
        [item["principal"], item["kind"], item["id"], _day(item["expires"]), item["note"]]
        for item in answer["items"]
    ]
    rows += [
        [claim["principal"], claim["kind"], f"claim {claim['id']}", _day(claim["expires"]), ""]
        for claim in answer["claims"]
    ]
    show(output, answer, ("principal", "kind", "id", "expires", "note"), rows)


def _told(answer: dict[str, Any], output: Format) -> None:
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(answer["claim"])
    note(f"a claim token for {answer['principal']}, valid once until {_day(answer['expires'])}")
    note("it is shown only now: give it to the device and to nobody else")


def _day(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix)) if unix else "never"
