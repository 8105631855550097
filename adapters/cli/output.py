"""What the command line prints: tables for people, JSON and YAML for programs.

Results go to standard output, everything else to standard error. Text from elsewhere is never
given to the terminal as it is: its control characters are escaped.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adapters.cli.yaml import to_yaml

STYLES = {
    **dict.fromkeys(("allow", "yes", "created", "live", "pass"), "green"),
    **dict.fromkeys(("deny", "no", "FAIL"), "red"),
    **dict.fromkeys(("replaced", "near miss", "no endpoint"), "yellow"),
    **dict.fromkeys(("unchanged", "-"), "dim"),
}
"""How words stand out in tables."""


class Format(StrEnum):
    """The forms that a result can be printed in."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def printable(text: str, *, lines: bool = False) -> str:
    """Escape what a text could do to a terminal; ``lines`` keeps tabs and line ends."""
    kept = "\n\t" if lines else ""
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape", "replace").decode()
        for c in text
    )


def show(
    form: Format, document: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Print a result: ``document`` for programs, ``rows`` under ``columns`` for people."""
    if form is Format.TABLE:
        table(columns, [[_cell(value) for value in row] for row in rows])
    else:
        data(form, document)


def data(form: Format, document: Any) -> None:
    """Print a document; as JSON where a table has no meaning."""
    if form is Format.YAML:
        typer.echo(to_yaml(document), nl=False)
    else:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: drawn on a terminal, aligned columns elsewhere."""
    if not rows:
        note("there is nothing to show")
        return
    console = Console(highlight=False)
    if console.is_terminal:
        drawn = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
        # What a row is about is copied from it: it stays whole if it leaves room for the rest.
        first = max(len(row[0]) for row in rows)
        for at, column in enumerate(columns):
            whole = at == 0 and first * 2 <= console.width
            drawn.add_column(column.upper(), overflow="fold", no_wrap=whole)
        for row in rows:
            drawn.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
        console.print(drawn)
        return
    lines = [[column.upper() for column in columns], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def say(text: str = "", style: str = "") -> None:
    """Print a line of a result for people."""
    Console(highlight=False, soft_wrap=True).print(Text(printable(text, lines=True), style))


def note(text: str, style: str = "dim") -> None:
    """Tell people something beside the result."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text(printable(text, lines=True), style))


def complain(text: str, hint: str = "") -> None:
    """Say what went wrong, and what to do."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("error: ", "bold red"), printable(text, lines=True)))
    if hint:
        console.print(Text.assemble(("hint:  ", "bold"), printable(hint, lines=True)))


def raw(body: bytes) -> None:
    """Print bytes as they are, for the program behind the pipe; safely for a terminal."""
    if sys.stdout.isatty():
        typer.echo(printable(body.decode("utf-8", "replace"), lines=True))
    else:
        stream = typer.get_binary_stream("stdout")
        stream.write(body)
        stream.flush()


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(str(value))
