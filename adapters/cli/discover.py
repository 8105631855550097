"""The command that finds what is registered by what it means."""

from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect
from adapters.cli.output import Format, note, show

PAGE = 500


def discover(
    type_: Annotated[
        str, typer.Option("--type", help="A class of objects or of members.", metavar="TERM")
    ] = "",
    place: Annotated[
        str, typer.Option(help="Where they are, or what contains that.", metavar="TERM")
    ] = "",
    capability: Annotated[
        str, typer.Option(help="What members do: a category, a class.", metavar="TERM")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="What their endpoints speak: http, mqtt, coap.")
    ] = "",
    near: Annotated[
        str,
        typer.Option(help="The nearest first: a place, or latitude,longitude.", metavar="WHERE"),
    ] = "",
    max_latency: Annotated[
        float,
        typer.Option(
            "--max-latency-ms", min=0, help="Members that answer 95 of 100 calls so soon."
        ),
    ] = 0,
    limit: Annotated[int, typer.Option(min=1, help="At most so many objects.")] = 100,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Find objects, methods and channels by what they mean; a TERM is an IRI, prefixed or a label.

    Of a type or place all that it contains counts too.
    """
    client = connect(url, token, token_file)
    terms = {"type": type_, "place": place, "capability": capability, "protocol": protocol}
    asked: dict[str, Any] = {**terms, "near": near, "maxLatencyMs": max_latency}
    items: list[dict[str, Any]] = []
    answer: dict[str, Any] = {"next": ""}
    while len(items) < limit:
        page = {**asked, "limit": min(PAGE, limit - len(items)), "cursor": answer["next"]}
        answer = client.ask("registry/discover", page)
        items += answer["items"]
        if not answer["next"]:
            break
    rows = [row for item in items for row in _rows(item)]
    columns = ("name", "kind", "types", "place", "latency")
    whole = {"items": items, **{key: answer[key] for key in ("next", "asked", "ranking", "notes")}}
    show(output, whole, columns, rows)
    for each in answer["notes"]:
        note(each)
    if answer["next"] and output is Format.TABLE:
        note(f"there are more than {limit}: say --limit")


def _rows(item: dict[str, Any]) -> list[list[str]]:
    """Return a line for each member that meets what was asked, else one for the object."""
    place = item.get("place", "")
    if not item["members"]:
        return [[item["name"], "object", _types(item), place, ""]]
    rows = [
        [each["name"], each["kind"], _types(each), place, _latency(each)]
        for each in item["members"]
    ]
    if item.get("moreMembers"):
        rows.append([f"{item['name']}/…", "", "", place, ""])
    return rows


def _types(item: dict[str, Any]) -> str:
    """Return what it is; that it is an object, a method or a channel is said already."""
    return ", ".join(each for each in item["types"] if not each.startswith(("td:", "hilum:")))


def _latency(member: dict[str, Any]) -> str:
    latency = member.get("latency")
    return f"{latency['ms']:g} ms {latency['source']}" if latency else ""
