"""Runs a command, and turns what went wrong into a message and an exit code."""

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from adapters.cli.app import build
from adapters.cli.output import complain, note
from adapters.client import Problem
from gateway.message import Status

INTERRUPTED = 130
"""What shells say of a program that Ctrl-C ended."""

_HINTS = {
    Status.UNAUTHENTICATED: "--token, --token-file, HILUM_TOKEN or HILUM_TOKEN_FILE gives a token; "
    "hilum token issue makes one",
    Status.DENIED: "hilum policy explain --as PRINCIPAL --do ACTION NAME says which policy decides",
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit: 0, or the code of the problem's status (``gateway.message``)."""
    try:
        build()(arguments, prog_name="hilum")
    except Problem as problem:
        _report(problem)
        sys.exit(problem.status.wire.exit)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing more may be flushed there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    raise AssertionError("typer exits by itself")


def _report(problem: Problem) -> None:
    problems = [one for one in _list(problem.extra.get("problems")) if isinstance(one, dict)]
    hint = problem.hint or _HINTS.get(problem.status, "")
    if "near" in problem.extra and not problem.extra["near"]:
        hint = "hilum registry list shows what exists"
    if problems:
        file = str(problem.extra.get("file", ""))
        for one in problems:
            complain(_place(file, one), str(one.get("hint") or ""))
        return
    for one in _list(problem.extra.get("validationErrors")):
        complain(f"{one.get('field') or 'the description'}: {one.get('description')}")
    if "validationErrors" in problem.extra:
        return
    complain(problem.detail, hint)
    for conflict in map(str, _list(problem.extra.get("conflicts"))):
        if conflict not in problem.detail:
            note(f"  {conflict}")


def _place(file: str, one: dict[str, Any]) -> str:
    """Return a problem of a document with its place, as compilers write it."""
    line, column = one.get("line"), one.get("column")
    where = ":".join(str(part) for part in (file, line, column) if part)
    path = f" ({one['path']})" if one.get("path") else ""
    said = f"{one.get('message')}{path}"
    return f"{where}: {said}" if where else said


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
