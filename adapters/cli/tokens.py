"""Commands for bearer tokens."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.cli.policies import NOT_DURABLE, pairs
from gateway.settings import default_state

_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}

Principal = Annotated[
    str,
    typer.Argument(
        metavar="PRINCIPAL", help="Who will present it: realm:subject, such as service:weather."
    ),
]


def issue(
    principal: Principal = "",
    kind: Annotated[
        str, typer.Option(help="service, device, user, administrator, or a kind of your own.")
    ] = "service",
    ttl: Annotated[str, typer.Option(help="How long it is valid: 90s, 15m, 12h, 30d.")] = "24h",
    remark: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    attribute: Annotated[
        list[str] | None, typer.Option(help="An attribute of the principal: key=value.")
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline",
            help="Write to the state of a site that is not running: recovers a lost admin token "
            "(site:admin, kind administrator, unless said otherwise).",
        ),
    ] = False,
    state: Annotated[
        Path | None, typer.Option(help="With --offline: the folder that keeps the site's state.")
    ] = None,
    save: Annotated[
        bool, typer.Option("--save", help="With --offline: write it to admin.token there.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Issue a token. It is printed once, and kept nowhere."""
    seconds = duration(ttl)
    if offline:
        principal, kind = principal or "site:admin", kind if principal else "administrator"
        from adapters.cli.offline import issue_offline  # the store is needed only here

        folder = state or default_state()
        issued = issue_offline(
            folder, principal, kind, seconds, remark, pairs(attribute or []), save=save
        )
    elif not principal:
        refuse("for whom is the token?", hint="hilum token issue service:weather")
    elif state is not None or save:
        refuse("--state and --save belong to --offline")
    else:
        question = {
            "principal": principal,
            "kind": kind,
            "ttl": seconds,
            "note": remark,
            "attributes": pairs(attribute or []),
        }
        issued = connect(url, token, token_file).ask("token/issue", question)
    if output is not Format.TABLE:
        data(output, issued)
        return
    say(issued["token"])
    note(f"for {issued['principal']} ({issued['kind']}), valid until {issued['expires']}")
    note("it is shown only now: keep it where only its owner can read it")


def list_tokens(
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List the valid tokens by what is public of them."""
    answer = connect(url, token, token_file).ask("token/list", {})
    columns = ("id", "principal", "kind", "expires", "note")
    show(output, answer, columns, [[item[c] for c in columns] for item in answer["items"]])


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The id of one token.")] = "",
    principal: Annotated[str, typer.Option(help="Revoke all tokens of this principal.")] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Revoke tokens: what is open with them ends at once."""
    if bool(token_id) == bool(principal):
        refuse("say either the id of a token or --principal", hint="hilum token list shows both")
    question: dict[str, Any] = {"id": token_id, "principal": principal}
    answer = connect(url, token, token_file).ask("token/revoke", question)
    if output is not Format.TABLE:
        data(output, answer)
        return
    for revoked in answer["revoked"]:
        say(f"{revoked} revoked")
    if not answer["durable"]:
        note(NOT_DURABLE, "yellow")


def duration(text: str) -> int:
    """Return the seconds that a text such as ``12h`` means."""
    match = _DURATION.fullmatch(text)
    if match is None:
        refuse(f"{text!r} is no duration", hint="write 90s, 15m, 12h or 30d")
    return int(match[1]) * _SECONDS[match[2]]
