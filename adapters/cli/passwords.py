"""Commands for chosen passwords and device secrets."""

import sys
from typing import Annotated

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say
from adapters.cli.policies import pairs
from adapters.cli.tokens import duration

LONGEST = 1024
"""Bytes of a password that are read from standard input."""

Attribute = Annotated[
    list[str] | None, typer.Option("--attribute", help="An attribute of the principal: key=value.")
]


def set_password(
    user: Annotated[str, typer.Argument(metavar="USER", help="The name to log in with.")],
    principal: Annotated[
        str, typer.Option(help="Who that is: realm:subject. Else user: and the name.")
    ] = "",
    kind: Annotated[str, typer.Option(help="user, or a kind of your own.")] = "user",
    attribute: Attribute = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the password from standard input, one line.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Set the password that somebody chose; what is open with the one before ends."""
    if stdin:
        password = sys.stdin.readline(LONGEST).rstrip("\r\n")
    elif sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        refuse("there is no terminal to ask for the password", hint="pipe it in with --stdin")
    asked = {"user": user, "password": password, "principal": principal, "kind": kind}
    asked["attributes"] = pairs(attribute or [])
    answer = connect(url, token, token_file).ask("identity/password", asked)
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(answer["id"])
    note(f"{answer['user']} logs in as {answer['principal']}")


def issue_secret(
    principal: Annotated[
        str, typer.Argument(metavar="PRINCIPAL", help="The device, such as device:thermometer.")
    ],
    user: Annotated[
        str, typer.Option(help="The name that it logs in with. Else what follows the realm.")
    ] = "",
    kind: Annotated[str, typer.Option(help="device, service, or a kind of your own.")] = "device",
    ttl: Annotated[str, typer.Option(help="How long it is valid: 12h, 30d. 0: for ever.")] = "0",
    remark: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    attribute: Attribute = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Issue a device secret: the password of an MQTT client. It is printed once."""
    asked = {"principal": principal, "user": user, "kind": kind, "ttl": duration(ttl)}
    asked |= {"note": remark, "attributes": pairs(attribute or [])}
    answer = connect(url, token, token_file).ask("identity/secret", asked)
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(answer["secret"])
    note(f"{answer['principal']} logs in as {answer['user']} with it")
    note("it is shown only now: keep it where only its owner can read it")
