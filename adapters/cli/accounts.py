"""The command that shows what principals and bindings have used."""

import csv
import sys
import time
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect
from adapters.cli.output import Format, show

PAGE = 1000
USED = ("calls", "events", "errors", "received", "sent", "cpu")


def accounts(
    bindings: Annotated[
        bool, typer.Option("--bindings", help="By binding: a name and its endpoint.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10_000,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what each principal has used: messages, payload bytes, seconds of the gateway's CPU."""
    client = connect(url, token, token_file)
    by = "binding" if bindings else "principal"
    items: list[dict[str, Any]] = []
    after = ""
    while len(items) < limit:
        asked = {"by": by, "after": after, "limit": min(PAGE, limit - len(items))}
        answer = client.ask("accounts/list", asked)
        items += answer["items"]
        after = answer["next"]
        if not after:
            break
    columns = (by, *USED, "updated")
    if as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows([item[column] for column in columns] for item in items)
        return
    rows = [
        [
            *(item[column] for column in columns[:-2]),
            f"{item['cpu']:.3f}",
            _time(item["updated"]),
        ]
        for item in items
    ]
    show(output, {"items": items}, columns, rows)


def _time(unix: int) -> str:
    """Return when an account was last stored; new ones are within five seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(unix)) if unix else "-"
