"""Commands that show traffic as it is now: top, trace."""

import json
import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect
from adapters.cli.output import Format, data, note, printable, say, table
from adapters.client import Client

FIRST_SECONDS = 1.0
"""The first look begins the counting: the second one has something to show."""
COLUMNS = ("name", "rate/s", "errors/s", "refused/s", "p50 ms", "p99 ms", "open", "endpoints")
WAIT = 10_000
"""Milliseconds that one question of a tail waits."""


class Sort(StrEnum):
    """What the busiest names are found by."""

    CALLS = "calls"
    ERRORS = "errors"
    REFUSED = "refused"
    P99 = "p99"


class Decided(StrEnum):
    """Which decisions a tail shows."""

    ALL = "all"
    ALLOWED = "allowed"
    DENIED = "denied"


def top(
    under: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Only names at or below this one.")
    ] = "",
    sort: Annotated[Sort, typer.Option(help="The column to sort by.")] = Sort.CALLS,
    once: Annotated[bool, typer.Option("--once", help="Look once, then end.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=20, help="Seconds between looks.")] = 2.0,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many names.")] = 30,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Show the busiest names: rates, errors, latencies, breakers and limits, of the last seconds.

    You see the names that you may describe. End with Ctrl-C.
    """
    asked = {
        "prefix": under,
        "sort": "faults" if sort is Sort.ERRORS else str(sort),
        "limit": limit,
    }
    with connect(url, token, token_file) as client:
        client.ask("observe/top", asked)
        time.sleep(FIRST_SECONDS)
        if output is not Format.TABLE or once:
            _print(client.ask("observe/top", asked), output)
            while not once:
                time.sleep(every)
                _print(client.ask("observe/top", asked), output)
            return
        _live(client, asked, every)


def trace(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="A name, or a pattern such as plans/**.")
    ] = "**",
    principal: Annotated[str, typer.Option("--as", help="Only what this principal does.")] = "",
    decision: Annotated[Decided, typer.Option(help="Only what was decided so.")] = Decided.ALL,
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0: never.")] = 0,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Show calls and denials as they happen, until Ctrl-C; needs `administer`."""
    seen = 0
    with connect(url, token, token_file) as client:
        for item in _follow(client, name, principal, decision):
            if output is Format.TABLE:
                say(_line(item), "red" if "reasons" in item else "")
            else:
                typer.echo(json.dumps(item))
            seen += 1
            if seen == count > 0:
                return


def cells(row: dict[str, Any]) -> list[str]:
    """Return one name's row as text."""
    state = []
    if row["endpoints"]:
        state.append(f"{row['well']}/{row['endpoints']} well")
    state += [f"breaker {one}" for one in dict.fromkeys(row["breakers"])]
    state += ["limited"] if row["limited"] else []
    numbers = [_number(row[key]) for key in ("rate", "faults", "refused", "p50", "p99", "open")]
    return [printable(row["name"]), *numbers, ", ".join(state) or "-"]


def _follow(
    client: Client, name: str, principal: str, decision: Decided
) -> Iterator[dict[str, Any]]:
    asked = {
        "name": name,
        "principal": principal,
        "decision": "" if decision is Decided.ALL else str(decision),
        "wait": WAIT,
    }
    after = ""
    while True:
        answer = client.ask("observe/trace", {**asked, "after": after})
        if answer["restarted"] or answer["lost"]:
            missing = f"{answer['lost']} lines" if answer["lost"] else "some lines"
            note(f"{missing} are missing here: more happened than could be shown")
        after = answer["after"]
        yield from answer["items"]


def _line(item: dict[str, Any]) -> str:
    when = time.strftime("%H:%M:%S", time.localtime(item["time"] / 1000))
    who = f"{when}  {item['principal']} {item['action']} {item['name']}"
    if "reasons" in item:
        return f"{who}  denied: {'; '.join(item['reasons'])}"
    where = f" by {item['provider']}" if "provider" in item else ""
    return f"{who}  {item['status']} in {item['ms']:g} ms{where}"


def _print(document: dict[str, Any], output: Format) -> None:
    if output is not Format.TABLE:
        data(output, document)
        return
    table([column.upper() for column in COLUMNS], [row for row, _ in _rows(document)])
    note(_summary(document))


def _live(client: Client, asked: dict[str, Any], every: float) -> None:
    """Draw the table again and again, over the whole screen."""
    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(_drawn(client.ask("observe/top", asked), console.height), refresh=True)
                time.sleep(every)
        except KeyboardInterrupt:
            return


def _drawn(document: dict[str, Any], height: int) -> Group:
    drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), expand=True)
    for column in COLUMNS:
        number = column not in ("name", "endpoints")
        drawn.add_column(
            column.upper(),
            justify="right" if number else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if column == "name" else None,
        )
    room = max(height - 4, 1)
    rows = _rows(document)
    for row, style in rows[:room]:
        drawn.add_row(*(Text(cell) for cell in row), style=style)
    head = Text(_summary(document), "bold")
    more = len(rows) - room
    tail = Text(f"and {more} more" if more > 0 else "", "dim")
    return Group(head, Text(), drawn, tail)


def _rows(document: dict[str, Any]) -> list[tuple[list[str], str]]:
    """Return names and channels as cells and style; a channel's row has its events, too."""
    channels = {row["name"]: row for row in document["channels"]}
    found = []
    for row in document["names"]:
        drawn, channel = cells(row), channels.pop(row["name"], None)
        if channel is not None:
            drawn[1], drawn[-1] = _channel(channel)[1], _channel(channel)[-1]
        found.append((drawn, _style(row)))
    return found + [(_channel(row), "") for row in channels.values()]


def _style(row: dict[str, Any]) -> str:
    if row["faults"] or "open" in row["breakers"]:
        return "red"
    return "yellow" if row["refused"] or row["breakers"] else ""


def _summary(document: dict[str, Any]) -> str:
    rate = sum(row["rate"] for row in document["names"])
    events = sum(row["rate"] for row in document["channels"])
    parts = [
        printable(document["site"]),
        f"{_number(rate)} calls/s",
        f"{_number(events)} events/s",
        f"{document['open']} open",
        f"over {document['seconds']:.0f} s",
    ]
    throttled = document["throttled"]
    if throttled:
        said = ", ".join(
            f"{printable(name)} {number}" for name, number in sorted(throttled.items())
        )
        parts.append(f"throttled by {said}")
    return "  ".join(parts)


def _channel(row: dict[str, Any]) -> list[str]:
    heard = row["subscribers"]
    said = f"channel, {heard} subscriber{'' if heard == 1 else 's'}"
    return [printable(row["name"]), _number(row["rate"]), "-", "-", "-", "-", "-", said]


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) or value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
