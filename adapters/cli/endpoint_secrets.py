"""Commands for the secrets with which the gateway authenticates at endpoints."""

import sys
from typing import Annotated, Literal

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, table

LONGEST = 8192
"""Bytes of a secret that are read from standard input."""

Object = Annotated[str, typer.Argument(metavar="NAME", help="The object that the endpoint is of.")]
Word = Annotated[
    str,
    typer.Argument(metavar="SECURITY", help="What its manifest or description calls the secret."),
]


def put(
    name: Object,
    security: Word,
    user: Annotated[str, typer.Option(help="Basic authentication as this user.")] = "",
    bearer: Annotated[bool, typer.Option("--bearer", help="A bearer token.")] = False,
    api_key: Annotated[str, typer.Option(help="A key: the name of its header or parameter.")] = "",
    place: Annotated[
        Literal["header", "query"], typer.Option("--in", help="Where the key goes.")
    ] = "header",
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read the secret from standard input, one line.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Keep a secret: the gateway shows it to the object's endpoints, and to nobody else."""
    if sum((bool(user), bearer, bool(api_key))) != 1:
        refuse("which kind of secret is it?", hint="give one of --user, --bearer and --api-key")
    value = _secret(stdin)
    secret: dict[str, str]
    if user:
        secret = {"scheme": "basic", "user": user, "password": value}
    elif bearer:
        secret = {"scheme": "bearer", "token": value}
    else:
        secret = {"scheme": "apikey", "key": value, "name": api_key, "place": place}
    asked = {"name": name, "security": security, "secret": secret}
    answer = connect(url, token, token_file).ask("registry/secret-put", asked)
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(f"{answer['name']}#{answer['security']}")
    note(f"endpoints that {answer['owner']} registers with that security get it")


def list_secrets(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of this object only.")] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List which secrets there are; what they are is never shown."""
    answer = connect(url, token, token_file).ask("registry/secrets", {"name": name})
    if output is not Format.TABLE:
        data(output, answer)
        return
    rows = [[s["name"], s["security"], s["scheme"], s["owner"]] for s in answer["secrets"]]
    table(["name", "security", "scheme", "owner"], rows)


def delete(
    name: Object,
    security: Word,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Forget a secret."""
    asked = {"name": name, "security": security}
    answer = connect(url, token, token_file).ask("registry/secret-delete", asked)
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(f"{answer['name']}#{answer['security']} deleted")


def _secret(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline(LONGEST).rstrip("\r\n")
    if not sys.stdin.isatty():
        refuse("there is no terminal to ask for the secret", hint="pipe it in with --stdin")
    return str(typer.prompt("Secret", hide_input=True, confirmation_prompt=True))
