"""Commands for what a site knows of its world: hilum ontology …."""

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.client import Client, Problem

SECONDS: Final = 120.0
"""How long reading a large ontology may take."""
LONGEST: Final = 900.0
"""How long a command waits at most for the index."""
TURTLE: Final = "text/turtle"
KINDS: Final = {
    "triples": "triple",
    "classes": "class",
    "properties": "property",
    "individuals": "individual",
    "places": "place",
}
"""What is counted in an ontology, and what one of it is called."""
MAX_FILE: Final = 256 * 1024 * 1024
"""Bytes of a file, as much as a site can be set to take."""

File = Annotated[str, typer.Argument(metavar="FILE", help="A Turtle file.")]
Name = Annotated[str, typer.Option("--name", help="What it is called here, else as its file is.")]
Wait = Annotated[bool, typer.Option(help="Wait until the index is built of it.")]


def load(
    file: File,
    name: Name = "",
    wait: Wait = True,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Load an ontology or the model of a building; one of the same name is replaced."""
    client = connect(url, token, token_file)
    called = name or _name_of(file)
    answer = _hand_over(client, "ontology-load", file, called)
    if answer["result"] != "unchanged" and wait:
        _wait(client, answer["index"]["builds"])
    if output is not Format.TABLE:
        data(output, answer)
        return
    style = {"created": "green", "replaced": "yellow"}.get(answer["result"], "dim")
    say(f"{called} {answer['result']}, revision {answer['revision']}", style)
    _tell(answer["summary"])


def list_ontologies(
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List the ontologies in use: of the program, from files, and loaded ones."""
    client = connect(url, token, token_file)
    answer = client.ask("registry/ontologies", {})
    columns: tuple[str, ...] = ("name", "source", "bytes", "revision", "owner", "problem")
    rows = [
        [one["name"], one["source"], one["bytes"], *(one.get(key) for key in columns[3:])]
        for one in answer["items"]
    ]
    if not any(one.get("problem") for one in answer["items"]):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    show(output, answer, columns, rows)
    if output is Format.TABLE:
        index = answer["index"]
        state = "is being built" if index["building"] else "is current"
        note(f"the index {state}: {index['triples']:,} triples")


def diff(
    file: File,
    name: Name = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what loading a file would change: the triples that go, and those that come."""
    client = connect(url, token, token_file)
    called = name or _name_of(file)
    answer = _hand_over(client, "ontology-diff", file, called)
    if output is not Format.TABLE:
        data(output, answer)
        return
    for mark, key, style in (("-", "went", "red"), ("+", "came", "green")):
        for line in answer[key]:
            say(f"{mark} {line}", style)
        left = answer["removed" if key == "went" else "added"] - len(answer[key])
        if left:
            say(f"{mark} … and {left:,} more", style)
    of = f"revision {answer['revision']} of {called}" if answer["revision"] else "nothing"
    note(f"{answer['removed']:,} triples go and {answer['added']:,} come, compared with {of}")


def unload(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called here.")],
    wait: Wait = True,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Take an ontology out; nothing follows from it any more."""
    client = connect(url, token, token_file)
    answer = client.ask("registry/ontology-unload", {"name": name})
    if wait:
        _wait(client, answer["index"]["builds"])
    if output is Format.TABLE:
        say(f"{name} unloaded")
    else:
        data(output, answer)


def rebuild(
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Build the index anew, beside the one in use."""
    client = connect(url, token, token_file)
    began = time.monotonic()
    answer = client.ask("registry/ontology-rebuild", {})
    index = _wait(client, answer["index"]["builds"])
    if output is Format.TABLE:
        seconds = time.monotonic() - began
        say(f"the index is built: {index['triples']:,} triples in {seconds:.1f} s")
    else:
        data(output, {"index": index})


def document(
    out: Annotated[Path | None, typer.Option("--out", help="A file; else standard output.")] = None,
) -> None:
    """Write the documentation of Hilum's own ontology as HTML."""
    from registry.ontology.document import page_of_core  # with a large library, for once

    page = page_of_core()
    if out is None:
        typer.echo(page, nl=False)
        return
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        refuse(f"cannot write {out}: {error.strerror}")
    note(f"written to {out}")


def _name_of(file: str) -> str:
    name = Path(file).name
    return name.rpartition(".")[0] or name


def _hand_over(client: Client, method: str, file: str, name: str) -> Any:
    """Send a file; what is wrong with it is told with its name, line and column."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_FILE + 1)
    except OSError as error:
        refuse(f"cannot read {file}: {error.strerror}")
    if len(content) > MAX_FILE:
        refuse(f"{file} is larger than {MAX_FILE} bytes")
    try:
        with _progress(f"reading {name}"):
            answer = client.call(
                f"$site/registry/{method}",
                content,
                TURTLE,
                query={"name": name},
                timeout=SECONDS,
            )
        return client.document(answer)
    except Problem as problem:
        problem.extra["file"] = file
        raise


def _wait(client: Client, builds: int) -> Any:
    """Wait until the index that was begun is in its place; return how it is."""
    end = time.monotonic() + LONGEST
    with _progress("building the index"):
        while True:
            index = client.ask("registry/ontologies", {})["index"]
            if index["builds"] > builds and not index["building"]:
                return index
            if time.monotonic() > end:
                refuse("the index is still being built", hint="hilum ontology list says how far")
            time.sleep(0.1)


def _progress(text: str) -> Any:
    """Show on a terminal that something goes on."""
    return Console(stderr=True).status(text)


def _tell(summary: Any) -> None:
    counted = [(summary[plural], plural, singular) for plural, singular in KINDS.items()]
    note(", ".join(f"{n:,} {one if n == 1 else many}" for n, many, one in counted if n))
    for imported in summary["imports"]:
        note(f"it imports {imported}")
    for sentence in summary["notes"]:
        note(sentence, "yellow")
