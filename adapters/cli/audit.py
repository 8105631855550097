"""Commands that read the audit log: verify, tail. They need the folder, not a running site."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.audit.folder import Verdict, files, newest, verify
from adapters.cli.options import Output, refuse
from adapters.cli.output import Format, complain, data, note, printable, say
from gateway.message import Status
from gateway.seeing.chain import Head, Sealed, head_of
from gateway.settings import default_state

POLL_SECONDS = 0.5
SHOWN = ("event", "principal", "action", "name", "policy", "peer")

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="[FOLDER]", help="The log's folder; else that of the site here."),
]


def check(
    folder: Folder = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="NUMBER:SHA256", help="A head that was kept elsewhere; repeatable."),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check that no record of the audit log was changed, removed, inserted, moved or cut off.

    Needs no running site. Prints the log's head: kept elsewhere, it proves later that all up to
    it is still there. The exit status is 9 when something is wrong.
    """
    there = _folder(folder)
    try:
        verdict = verify(there, _anchors(anchor or []))
    except OSError as error:
        refuse(f"cannot read {there}: {error.strerror}", status=Status.UNAVAILABLE)
    if output is Format.TABLE:
        _say(verdict)
    else:
        data(output, _document(verdict))
    if verdict.findings:
        raise typer.Exit(Status.INVALID.wire.exit)


def tail(
    folder: Folder = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many records.")] = 20,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with records as they are written.")
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Show the newest records of the audit log."""
    there = _folder(folder)
    records = newest(there, count)
    last = 0
    while True:
        for one in records:
            if one.seq > last:
                last = one.seq
                _print(one, output)
        if not follow:
            return
        time.sleep(POLL_SECONDS)
        records = newest(there, 1000)


def _folder(folder: Path | None) -> Path:
    there = folder or default_state() / "audit"
    if not there.is_dir() or not (files(there) or (there / "head").exists()):
        hint = "it is the folder `audit` in the site's state"
        refuse(f"there is no audit log in {there}", status=Status.NOT_FOUND, hint=hint)
    return there


def _anchors(texts: list[str]) -> list[Head]:
    try:
        return [head_of(text) for text in texts]
    except ValueError as error:
        refuse(str(error))


def _say(verdict: Verdict) -> None:
    for finding in verdict.findings:
        say(str(finding))
    if verdict.more:
        say(f"and {verdict.more} more")
    if verdict.findings:
        complain(f"the audit log is not whole: {verdict.findings[0]}")
    else:
        say(f"{verdict.records} records, from {verdict.first} on, are as they were written")
    note(f"head {verdict.head}")


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "whole": not verdict.findings,
        "records": verdict.records,
        "first": verdict.first,
        "head": str(verdict.head),
        "files": verdict.files,
        "findings": [finding._asdict() for finding in verdict.findings],
        "more": verdict.more,
    }


def _print(one: Sealed, output: Format) -> None:
    if output is Format.TABLE:
        said = " ".join(str(one.body[field]) for field in SHOWN if one.body.get(field))
        actor = f" by {one.body['actor']}" if "actor" in one.body else ""
        say(f"{_when(one)}  {said}{actor}  {_why(one)}".rstrip())
    else:
        typer.echo(json.dumps({"seq": one.seq, "time": one.time, **one.body}))


def _when(one: Sealed) -> str:
    return _time(one.time / 1000)


def _time(unix: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(unix))


def _why(one: Sealed) -> str:
    """Return what else a record says, in a line."""
    hidden = (*SHOWN, "actor", "kind", "at", "log", "reasons")
    rest = {key: value for key, value in one.body.items() if key not in hidden}
    reasons = one.body.get("reasons", [])
    said = [str(reason) for reason in reasons] if isinstance(reasons, list) else []
    repeated = "repeated" in rest
    said += [f"{key}={_text(key, value, repeated)}" for key, value in rest.items()]
    return printable(", ".join(said))


def _text(key: str, value: object, repeated: bool) -> str:
    if repeated and key in ("first", "last") and isinstance(value, int):
        return _time(value / 1000)
    if key in ("expires", "before") and isinstance(value, int):
        return _time(value) if value else "never"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
