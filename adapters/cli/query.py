"""The command that asks what is registered by SPARQL, JSONPath or XPath."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, raw, show
from adapters.client import Problem
from gateway.message import Status
from registry.terms import compact

LONGEST = 1024 * 1024
"""Bytes of a file that is read."""
RESULTS = "application/sparql-results+json"


def query(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A SPARQL query; - is standard input."),
    ] = None,
    sparql: Annotated[str, typer.Option(help="A SPARQL query.", metavar="TEXT")] = "",
    jsonpath: Annotated[str, typer.Option(help="A JSONPath query.", metavar="TEXT")] = "",
    xpath: Annotated[str, typer.Option(help="An XPath 3.1 query.", metavar="TEXT")] = "",
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many, of JSONPath and XPath.")
    ] = 100,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Ask what is registered, as far as you may know of it.

    SPARQL asks the index, JSONPath ($) and XPath the array of all descriptions.
    """
    asked = {"sparql": sparql, "jsonpath": jsonpath, "xpath": xpath}
    given = {language: text for language, text in asked.items() if text}
    if file is not None:
        given[str(file)] = _read(file)
    if len(given) != 1:
        refuse("give one query: a FILE, --sparql, --jsonpath or --xpath", status=Status.BAD_REQUEST)
    ((source, text),) = given.items()
    client = connect(url, token, token_file)
    method = source if source in ("jsonpath", "xpath") else "query"
    more: dict[str, Any] = {"limit": limit} if method != "query" else {"accept": _accept(output)}
    payload = json.dumps({"query": text, **more}).encode()
    try:
        answer = client.call(f"$site/registry/{method}", payload)
    except Problem as problem:
        problem.extra.setdefault("file", source if source not in asked else f"--{source}")
        raise
    if not answer.is_json:
        raw(answer.body)
        return
    document = json.loads(answer.body)
    if isinstance(document, dict) and output is Format.TABLE:
        _table(document)
    elif output is Format.TABLE:
        _values(document, limit)
    else:
        data(output, document)


def _accept(output: Format) -> str:
    """Return what is accepted: of graphs Turtle for people, JSON-LD for programs."""
    graphs = "text/turtle" if output is Format.TABLE else "application/ld+json"
    return f"{RESULTS}, {graphs}"


def _table(document: Mapping[str, Any]) -> None:
    if "boolean" in document:
        typer.echo("yes" if document["boolean"] else "no")
        return
    columns = document["head"]["vars"]
    rows = [[_term(row.get(name)) for name in columns] for row in document["results"]["bindings"]]
    show(Format.TABLE, document, columns, rows)


def _term(term: Mapping[str, str] | None) -> str:
    if term is None:
        return ""
    return compact(term["value"]) if term["type"] == "uri" else term["value"]


def _values(found: list[Any], limit: int) -> None:
    """Print what was selected: objects by their ids and titles, else values."""
    whole = [each for each in found if isinstance(each, dict) and "id" in each]
    if found and len(whole) == len(found):
        rows = [[each["id"], str(each.get("title", ""))] for each in whole]
        show(Format.TABLE, found, ("id", "title"), rows)
    else:
        show(Format.TABLE, found, ("value",), [[_text(each)] for each in found])
    if len(found) >= limit:
        note(f"there may be more than {limit}: say --limit")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _read(file: Path) -> str:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(LONGEST).decode()
        with file.open("rb") as opened:
            return opened.read(LONGEST).decode()
    except OSError as error:
        refuse(f"cannot read {file}: {error.strerror}")
    except UnicodeDecodeError as error:
        refuse(f"{file} is no UTF-8: {error.reason}", status=Status.INVALID)
