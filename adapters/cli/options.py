"""The options that every command has which talks to a gateway."""

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from adapters.cli.output import Format
from adapters.client import Client, Problem
from gateway.config import is_loopback
from gateway.message import Status
from gateway.settings import default_state
from registry.urls import InvalidUrl, parse_url

DEFAULT_URL = "http://127.0.0.1:8080"
ADMIN_TOKEN = "admin.token"  # noqa: S105  (a file's name)
CONNECTION = "Connection"
MAX_TOKEN = 4096
"""Bytes of a token's file."""

Url = Annotated[
    str,
    typer.Option(
        "--url",
        envvar="HILUM_URL",
        help="The data listener of the gateway.",
        rich_help_panel=CONNECTION,
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        help="A bearer token, else the variable HILUM_TOKEN. Others on this machine can read "
        "arguments: prefer the variable or a file.",
        show_default=False,
        rich_help_panel=CONNECTION,
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help="A file that holds the token, else HILUM_TOKEN_FILE, else the admin.token of a site "
        "on this machine.",
        show_default=False,
        rich_help_panel=CONNECTION,
    ),
]
Output = Annotated[
    Format,
    typer.Option("--output", "-o", help="How the result is printed.", rich_help_panel=CONNECTION),
]


def connect(url: str, token: str, token_file: Path | None, timeout: float = 30.0) -> Client:
    """Return a client that presents the token that was given, or found."""
    return Client(url, _token(url, token, token_file), timeout)


def refuse(detail: str, *, status: Status = Status.BAD_REQUEST, hint: str = "") -> NoReturn:
    """End the command with an error."""
    raise Problem(status, detail, hint=hint)


def _token(url: str, token: str, token_file: Path | None) -> str:
    if token:
        return _checked(token, "--token")
    if token_file is not None:
        return _read(token_file)
    if token := os.environ.get("HILUM_TOKEN", ""):
        return _checked(token, "HILUM_TOKEN")
    if path := os.environ.get("HILUM_TOKEN_FILE", ""):
        return _read(Path(path))
    return _local(url)


def _local(url: str) -> str:
    """Return the administrator's token of the site on this machine; it goes nowhere else."""
    try:
        if is_loopback(parse_url(url).host):
            return _read(default_state() / ADMIN_TOKEN)
    except (Problem, InvalidUrl):
        pass
    return ""


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN)
    except OSError as error:
        refuse(f"cannot read the token from {path}: {error.strerror}")
    return _checked(content.decode("latin-1").strip(), str(path))


def _checked(token: str, source: str) -> str:
    """Return a token that a header can hold."""
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        refuse(f"what {source} holds is no token: one line of printable ASCII is expected")
    return token
