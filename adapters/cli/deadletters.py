"""Commands for events that could not be delivered to a bound method."""

import time
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect
from adapters.cli.output import Format, data, say, show
from adapters.client import Client

PAGE = 100

Ids = Annotated[list[int], typer.Argument(metavar="ID", help="Ids of dead letters.")]


def list_letters(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List dead letters: events whose delivery was given up, with the last error."""
    client = connect(url, token, token_file)
    items: list[dict[str, Any]] = []
    while len(items) < limit:
        after = items[-1]["id"] if items else 0
        asked = {"after": after, "limit": min(PAGE, limit - len(items))}
        page = client.ask("channel/deadletters", asked)["items"]
        items += page
        if not page:
            break
    columns = ("id", "channel", "event", "binding", "published", "attempts", "error")
    rows = [
        [
            *(item[key] for key in ("id", "channel", "event", "binding")),
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(item["time"] / 1000)),
            item["attempts"],
            item["error"],
        ]
        for item in items
    ]
    show(output, {"items": items}, columns, rows)


def redrive(
    ids: Ids,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Deliver dead letters once more; those that fail stay."""
    _each("channel/redrive", "delivered", ids, connect(url, token, token_file), output)


def delete(
    ids: Ids,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Delete dead letters."""
    _each("channel/discard", "deleted", ids, connect(url, token, token_file), output)


def _each(method: str, done: str, ids: list[int], client: Client, output: Format) -> None:
    answers = []
    for letter in ids:
        answers.append(client.ask(method, {"id": letter}))
        if output is Format.TABLE:
            say(f"dead letter {letter} {done}")
    if output is not Format.TABLE:
        data(output, {"items": answers})
