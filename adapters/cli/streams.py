"""Commands that follow or repeat a channel's events: watch, replay."""

import base64
import json
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, printable
from adapters.cli.yaml import to_yaml
from adapters.client import Client, Problem, ServerEvent
from gateway.message import EventId, Status
from gateway.subscriptions import parse_event_id

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE = 10.0
"""Most seconds between two attempts to connect again."""
PAGE = 100
"""Events of one request."""

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name.")]


def watch(
    name: Channel,
    after: Annotated[
        str, typer.Option(help="Begin after this event; oldest: with everything that is kept.")
    ] = "",
    group: Annotated[
        str, typer.Option(help="Share the events with the other members of this group.")
    ] = "",
    count: Annotated[int, typer.Option(min=0, help="End after so many events; 0: never.")] = 0,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Print a channel's events as they come; when the connection breaks, go on where it broke."""
    client = connect(url, token, token_file)
    seen = 0
    for event in follow(client, name, after, group):
        if event.kind == "gap":
            _print_gap(event, output)
            continue
        _print_event(event, output)
        seen += 1
        if seen == count > 0:
            return


def follow(client: Client, name: str, after: str, group: str) -> Iterator[ServerEvent]:
    """Yield events for ever, resuming after the last one; raises Problem when refused."""
    wait, last, connected = 0.0, "", False
    while True:
        try:
            events = client.subscribe(name, after=after, group=group, last=last)
            connected = True
            for event in events:
                wait = 0.0
                last = event.id or last
                yield event
            broke = "the stream ended"
        except Problem as problem:
            # A site that shuts down says so, and comes back.
            if problem.status is not Status.UNAVAILABLE or not connected:
                raise
            broke = problem.detail
        wait = min(PATIENCE, 2 * wait or 0.25)
        note(f"{broke}; resuming {f'after {last} ' if last else ''}in {wait:g} s")
        time.sleep(wait)


def replay(
    channel: Channel,
    into: Annotated[str, typer.Option(help="The channel to publish into: a sandbox.")],
    first: Annotated[
        str, typer.Option("--from", help="The first event; else the oldest kept.")
    ] = "",
    last: Annotated[str, typer.Option("--to", help="The last event; else the newest now.")] = "",
    speed: Annotated[
        float, typer.Option(min=0.001, help="How many times faster than it was recorded.")
    ] = 1.0,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Publish a recorded stretch of a channel again, with its spacing, into another channel."""
    client = connect(url, token, token_file)
    if channel.strip("/") == into.strip("/"):
        refuse("a channel cannot be replayed into itself", hint="--into names another channel")
    begin, end = _stretch(client, channel, first, last)
    published = 0
    started, origin = time.monotonic(), 0
    with client, _progress() as progress:
        bar = progress.add_task(channel, total=max(0, end.sequence - begin.sequence))
        for event in _recorded(client, channel, begin, end):
            origin = origin or event["time"]
            _sleep_until(started + (event["time"] - origin) / 1000 / speed)
            client.call(into, _payload(event), event["contentType"])
            published += 1
            done = _id(event["id"]).sequence - begin.sequence
            progress.update(bar, completed=done)
    result = {"channel": channel, "into": into, "events": published}
    if output is Format.TABLE:
        typer.echo(f"{published} events of {printable(channel)} published to {printable(into)}")
    else:
        data(output, result)


def _stretch(client: Client, channel: str, first: str, last: str) -> tuple[EventId, EventId]:
    """Return the event before the first one, and the last one."""
    end = _id(last or client.call(channel, verb="GET").event_id)
    if not first:
        return EventId(end.incarnation, 0), end
    begin = _id(first)
    if begin.incarnation != end.incarnation:
        detail = f"{first} and {end} are of different incarnations of {channel}"
        refuse(detail, hint="hilum watch CHANNEL --after oldest shows the ids that are kept")
    if begin.sequence > end.sequence:
        refuse(f"{first} is newer than {end}")
    return EventId(begin.incarnation, max(0, begin.sequence - 1)), end


def _recorded(
    client: Client, channel: str, begin: EventId, end: EventId
) -> Iterator[dict[str, Any]]:
    after, page = begin, PAGE
    while after.sequence < end.sequence:
        asked = {"name": channel, "after": str(after), "limit": page}
        try:
            items = client.ask("channel/history", asked)["items"]
        except Problem as problem:
            if problem.status is not Status.TOO_LARGE or page == 1:
                raise
            page = 1
            continue
        if not items:
            return
        for item in items:
            after = _id(item["id"])
            if after.incarnation != end.incarnation or after.sequence > end.sequence:
                return
            yield item


def _id(text: str) -> EventId:
    found = parse_event_id(text)
    if found is None:
        refuse(f"{text!r} is no event id", hint="hilum watch CHANNEL --after oldest shows ids")
    return found


def _payload(event: dict[str, Any]) -> bytes:
    if event.get("encoding") == "base64":
        return base64.b64decode(event["payload"])
    return str(event["payload"]).encode()


def _sleep_until(moment: float) -> None:
    left = moment - time.monotonic()
    if left > 0:
        time.sleep(left)


def _progress() -> "Progress":
    # It takes longer to import than the rest of rich, for one command.
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    return Progress(
        TextColumn("replaying {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _print_event(event: ServerEvent, output: Format) -> None:
    document = _document(event.data)
    if output is Format.TABLE:
        content = document.get("data", document.get("data_base64", ""))
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        when, who = _clock(str(document.get("time", ""))), str(document.get("principal", ""))
        line = f"{when}  {printable(event.id)}  {printable(who)}  {printable(text)}"
        if sys.stdout.isatty():
            width = Console().width
            line = line if len(line) <= width else line[: width - 1] + "…"
        typer.echo(line)
    else:
        _print_document(document, output)


def _print_gap(event: ServerEvent, output: Format) -> None:
    gap = _document(event.data)
    if output is Format.TABLE:
        lost = gap.get("lost")
        what = "events" if lost is None else f"{lost} events"
        note(f"{what} are missing here ({gap.get('reason')}); going on after {event.id}", "yellow")
    else:
        _print_document({"id": event.id, "type": "gap", **gap}, output)


def _print_document(document: dict[str, Any], output: Format) -> None:
    """Print one of many documents: a line of JSON, or a document of YAML."""
    if output is Format.JSON:
        typer.echo(json.dumps(document, ensure_ascii=False))
    else:
        typer.echo("---\n" + to_yaml(document), nl=False)


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {"data": text}
    return document if isinstance(document, dict) else {"data": document}


def _clock(text: str) -> str:
    """Return the local time of day of an RFC 3339 time."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "-"
