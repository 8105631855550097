"""Commands that are traffic: call, publish, introspect."""

import json
import sys
from http import HTTPStatus
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, complain, data, raw, say
from adapters.client import Answer
from gateway.message import Status

MAX_INPUT = 64 * 1024 * 1024
"""Bytes that are read from standard input."""

Timeout = Annotated[float, typer.Option(min=0.001, max=300, help="Seconds to wait for an answer.")]


def call(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The method's name.")],
    document: Annotated[
        str, typer.Argument(metavar="JSON", help="The arguments as JSON; - reads standard input.")
    ] = "",
    arg: Annotated[
        list[str] | None,
        typer.Option("--arg", "-a", help="One argument: key=value, the value JSON or else text."),
    ] = None,
    timeout: Timeout = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Call a method and print what it answers."""
    payload = _payload(document, arg or [])
    answer = connect(url, token, token_file).call(name, payload, timeout=timeout)
    show_answer(answer, output)
    if answer.by_provider and answer.code >= 400:
        hint = "hilum endpoint-secret put keeps what the gateway shows to services"
        complain(
            f"the service that provides {name} answered with HTTP {answer.code}",
            hint if answer.code == HTTPStatus.UNAUTHORIZED else "",
        )
        raise typer.Exit(Status.PROVIDER_ERROR.wire.exit)


def publish(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The channel's name.")],
    content: Annotated[
        str, typer.Argument(metavar="DATA", help="The event's payload; - reads standard input.")
    ],
    content_type: Annotated[
        str, typer.Option(help="The media type; else JSON if the payload is JSON, else text.")
    ] = "",
    timeout: Timeout = 30.0,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Publish an event to a channel; prints its id when it is as durable as the channel says."""
    payload = standard_input() if content == "-" else content.encode()
    client = connect(url, token, token_file)
    kind = content_type or media_type_of(payload)
    answer = client.document(client.call(name, payload, kind, timeout=timeout))
    if output is Format.TABLE:
        say(answer["id"])
    else:
        data(output, answer)


def introspect(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A microservice or an object.")],
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Ask a microservice for its description of itself (what it offers, where)."""
    client = connect(url, token, token_file)
    accept = "text/plain" if output is Format.TABLE else "application/json"
    answer = client.call(f"{name.rstrip('/')}/introspect", accept=accept)
    show_answer(answer, output)


def show_answer(answer: Answer, output: Format) -> None:
    """Print a reply: pretty on a terminal or when a form is asked for, else as it came."""
    if not answer.body:
        return
    if answer.is_json and (output is not Format.TABLE or sys.stdout.isatty()):
        try:
            content = json.loads(answer.body)
        except ValueError:
            complain("the answer says that it is JSON, but it is not")
        else:
            data(output, content)
            return
    raw(answer.body if answer.body.endswith(b"\n") or not is_text(answer) else answer.body + b"\n")


def is_text(answer: Answer) -> bool:
    """Whether a line end behind a reply does no harm."""
    return answer.is_json or answer.content_type.startswith("text/")


def standard_input() -> bytes:
    """Read all of standard input."""
    content = sys.stdin.buffer.read(MAX_INPUT + 1)
    if len(content) > MAX_INPUT:
        refuse(f"standard input has more than {MAX_INPUT} bytes", status=Status.TOO_LARGE)
    return content


def media_type_of(payload: bytes) -> str:
    """Guess a payload's media type."""
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        pass
    else:
        return "application/json"
    try:
        payload.decode()
    except UnicodeDecodeError:
        return "application/octet-stream"
    return "text/plain; charset=utf-8"


def _payload(document: str, args: list[str]) -> bytes:
    if args and document:
        refuse("give the arguments either as JSON or with --arg, not both")
    if args:
        return json.dumps(dict(map(_argument, args))).encode()
    if document == "-":
        return standard_input()
    if document:
        try:
            json.loads(document)
        except ValueError as error:
            refuse(
                f"the arguments are not JSON: {error}",
                hint='write \'{"key": "value"}\' or --arg key=value',
            )
    return document.encode()


def _argument(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        refuse(f"--arg {text!r} is not key=value")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
