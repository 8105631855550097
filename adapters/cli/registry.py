"""Commands that show what exists."""

import json
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect
from adapters.cli.output import Format, data, raw, say, show

PAGE = 1000
FORMATS = "json, text, html, td, turtle, rdfxml, openapi or asyncapi"


def list_names(
    under: Annotated[
        str, typer.Argument(metavar="NAME", help="Only names at or below this one.")
    ] = "",
    kind: Annotated[str, typer.Option(help="Only object, method or channel.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Show the site's own names too, those with a $.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10_000,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List the names that are registered, as far as you may know of them."""
    client = connect(url, token, token_file)
    items: list[dict[str, Any]] = []
    after = ""
    while len(items) < limit:
        asked = {"prefix": under, "kind": kind, "after": after, "limit": PAGE}
        answer = client.ask("registry/list", asked)
        items += [i for i in answer["items"] if everything or "$" in under or "/$" not in i["name"]]
        after = answer["next"]
        if not after:
            break
    items = items[:limit]
    columns = ("name", "kind", "owner", "live")
    rows = [
        [i["name"], i["kind"], i["owner"], "live" if i["live"] else "no endpoint"] for i in items
    ]
    show(output, {"items": items}, columns, rows)


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An object or a microservice.")],
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
    form: Annotated[
        str,
        typer.Option("--format", help=f"Print it as it comes, as {FORMATS}."),
    ] = "",
) -> None:
    """Describe an object or a microservice: its members, and where its methods go now."""
    client = connect(url, token, token_file)
    if form:
        raw(client.call("$site/registry/introspect", _named(name, format=form)).body)
    elif output is Format.TABLE:
        answer = client.call("$site/registry/introspect", _named(name), accept="text/plain")
        say(answer.body.decode("utf-8", "replace").rstrip())
    else:
        data(output, client.ask("registry/introspect", {"name": name}))


def _named(name: str, **more: str) -> bytes:
    return json.dumps({"name": name, **more}).encode()
