"""Commands for Thing Descriptions."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, raw, say, show
from gateway.message import Status

PAGE = 500
LONGEST = 16 * 1024 * 1024
"""Bytes of a file that is read."""

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the description.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A JSON file; - is standard input.")]


def list_things(
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10_000,
    sort: Annotated[str, typer.Option(help="id, title, created, modified or expires.")] = "id",
    reverse: Annotated[bool, typer.Option("--reverse", help="The last one first.")] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List what is described, as far as you may know of it."""
    client = connect(url, token, token_file)
    order = {"sort_by": sort, "sort_order": "desc" if reverse else "asc"}
    items: list[dict[str, Any]] = []
    offset: int | None = 0
    while offset is not None and len(items) < limit:
        page = {"offset": offset, "limit": min(PAGE, limit - len(items)), **order}
        answer = client.ask("registry/things", page)
        items += answer["items"]
        offset = answer["next"]
    rows = [[item.get("id", ""), item.get("title", ""), *_members(item)] for item in items]
    columns = ("id", "title", "properties", "actions", "events", "expires")
    show(output, {"items": items}, columns, rows)
    if offset is not None and output is Format.TABLE:
        note(f"there are more than {limit}: say --limit")


def get(
    thing_id: Id,
    submitted: Annotated[
        bool, typer.Option("--submitted", help="As it was submitted: for its owner.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.JSON,
) -> None:
    """Get a description, with forms that lead through the gateway."""
    asked = {"id": thing_id, "view": "submitted" if submitted else ""}
    answer = connect(url, token, token_file).call(
        "$site/registry/thing", json.dumps(asked).encode()
    )
    if submitted:
        raw(answer.body)
        return
    data(Format.JSON if output is Format.TABLE else output, json.loads(answer.body))


def put(
    file: File,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Register a description, or replace the one of its id; without an id it gets one."""
    text = _read(file)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        refuse(f"{file} is not JSON: {error}", status=Status.INVALID)
    known = isinstance(document, dict) and "id" in document
    method = "put-thing" if known else "create-thing"
    client = connect(url, token, token_file)
    answer = client.document(client.call(f"$site/registry/{method}", text, "application/td+json"))
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(answer["id"])
    note(f"{'created' if answer['created'] else 'replaced'}; it is called by {answer['name']}")
    for warning in answer["warnings"]:
        note(f"warning: {warning}", "yellow")


def patch(
    thing_id: Id,
    file: File,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Change parts of a description with a JSON merge patch (RFC 7396)."""
    try:
        document = json.loads(_read(file))
    except (ValueError, RecursionError) as error:
        refuse(f"{file} is not JSON: {error}", status=Status.INVALID)
    if not isinstance(document, dict):
        refuse(f"{file} is no JSON object", status=Status.INVALID)
    answer = connect(url, token, token_file).ask(
        "registry/patch-thing", {**document, "id": thing_id}
    )
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(answer["id"])
    note(f"changed: {answer['etag']}")


def delete(
    thing_id: Id,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Remove a description; its names go too."""
    answer = connect(url, token, token_file).ask("registry/delete-thing", {"id": thing_id})
    if output is not Format.TABLE:
        data(output, answer)
        return
    say(f"{answer['id']} deleted")


def _members(item: dict[str, Any]) -> list[Any]:
    counts = [len(item.get(kind, {})) for kind in ("properties", "actions", "events")]
    return [*counts, item.get("registration", {}).get("expires", "")]


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LONGEST)
        with file.open("rb") as opened:
            return opened.read(LONGEST)
    except OSError as error:
        refuse(f"cannot read {file}: {error.strerror}")
