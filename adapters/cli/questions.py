"""Commands that ask about policies: explain, test."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.cli.policies import media_type_of, pairs, read_file
from adapters.client import Problem
from gateway.message import Status
from policy.model import Action
from registry.problems import InvalidDocument
from registry.terms import compact

if TYPE_CHECKING:
    from policy.access.cases import Case

FAILED = Status.CONFLICT
"""What ``policy test`` ends with when a case failed."""


def explain(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What it is about: a name of the site.")
    ],
    principal: Annotated[str, typer.Option("--as", help="Who asks, such as user:ann.")],
    action: Annotated[Action, typer.Option("--do", help="What is asked.")] = Action.CALL,
    kind: Annotated[
        str, typer.Option(help="The kind of the principal; else what its credentials here say.")
    ] = "",
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            help="An attribute of the principal: key=text, or key:=JSON for a number, true, a list."
        ),
    ] = None,
    group: Annotated[str, typer.Option(help="The subscriber group to join.")] = "",
    endpoint: Annotated[str, typer.Option(help="The URL to bind.")] = "",
    at: Annotated[
        str, typer.Option(help="What if it were this time: 2026-03-01T08:00, or with an offset.")
    ] = "",
    threat: Annotated[
        int | None, typer.Option(min=0, max=10, help="What if this were the threat level.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Say who decides what about a name, and why; whether it is allowed does not matter here."""
    question = {
        "principal": principal,
        "action": action.value,
        "name": name,
        "kind": kind,
        "attributes": _attributes(attribute or []),
        "group": group,
        "endpoint": endpoint,
        "at": at,
        "threat": threat,
    }
    answer = connect(url, token, token_file).ask("policy/explain", question)
    if output is not Format.TABLE:
        data(output, answer)
        return
    allowed, of_kind = answer["allowed"], answer["kind"]
    verdict, may = ("allowed", "may") if allowed else ("denied", "may not")
    say(f"{verdict}: {principal} ({of_kind}) {may} {action} {name}", "green" if allowed else "red")
    columns = ("policy", "effect", "why")
    show(output, None, columns, [[reason[c] for c in columns] for reason in answer["reasons"]])
    said = [f for f in answer["objectAttributes"] if f["source"] != "registry"]
    if said:
        heads = ("object", "value", "source", "by", "counts")
        show(output, None, heads, [_said(fact) for fact in said])
    if answer["knownBy"] == "realm":
        note(f"no credential of {principal} is known here: taken for kind {of_kind} (see --kind)")
    if not answer["registered"]:
        note(f"{name} is not registered now")
    if answer["obligations"]:
        note(f"obliges to {json.dumps(answer['obligations'])}")
    for target in answer["resolvesTo"]:
        say(f"goes to {target['target']} ({'healthy' if target['healthy'] else 'failing'})")


def _said(fact: dict[str, Any]) -> list[str]:
    """Return what is known of a name as a row: an attribute, and whether it counts."""
    value = fact["value"]
    shown = ", ".join(map(compact, value)) if isinstance(value, list) else compact(str(value))
    counts = "yes" if fact["counts"] else "no"
    why = f"{counts}: {fact['why']}" if fact["why"] else counts
    return [fact["attribute"], shown, fact["source"], fact["by"], why]


def check(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A table of questions and expected decisions."),
    ] = None,
    policies: Annotated[
        list[str] | None,
        typer.Option(help="Manifests to decide with on top of what is in force; not enforced."),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of such a file instead.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Run a table of expected decisions; ends with 6 when one is decided otherwise."""
    if schema:
        from policy.access.cases import json_schema  # what reads manifests takes a while

        data(output, json_schema())
        return
    if file is None:
        raise typer.BadParameter("which file? hilum policy test expected.yaml", param_hint="FILE")
    cases = _cases(str(file))
    manifests = "\n---\n".join(
        read_file(name).decode("utf-8", "replace") for name in policies or []
    )
    asked = {"cases": msgspec.to_builtins(cases), "policies": manifests}
    try:
        answer = connect(url, token, token_file).ask("policy/test", asked)
    except Problem as problem:
        problem.extra["file"] = ", ".join(policies or [])
        raise
    if output is Format.TABLE:
        rows = [_row(*pair) for pair in zip(cases, answer["results"], strict=True)]
        show(output, None, ("result", "as", "do", "name", "expect", "why"), rows)
        say(f"{answer['passed']} passed, {answer['failed']} failed")
    else:
        data(output, answer)
    if answer["failed"]:
        raise typer.Exit(FAILED.wire.exit)


def shadow(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A policy in shadow mode; all unless given.")
    ] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Show what policies in shadow mode would have decided differently."""
    answer = connect(url, token, token_file).ask("policy/shadow", {"name": name})
    if output is not Format.TABLE:
        data(output, answer)
        return
    counts = [[one["policy"], one["differences"]] for one in answer["policies"]]
    show(output, None, ("policy", "differences"), counts)
    if answer["differences"]:
        say()
        columns = ("policy", "as", "do", "name", "was", "would be", "why")
        show(output, None, columns, [_difference(one) for one in answer["differences"]])


def _difference(one: Any) -> list[str]:
    was, would = (("allow" if one[key] else "deny") for key in ("allowed", "wouldBeAllowed"))
    return [one["policy"], one["principal"], one["action"], one["name"], was, would, one["why"]]


def _attributes(texts: list[str]) -> dict[str, Any]:
    """Read attributes: ``key=text`` and ``key:=JSON``."""
    found: dict[str, Any] = {}
    for key, value in pairs(texts).items():
        if not key.endswith(":"):
            found[key] = value
            continue
        try:
            found[key[:-1]] = json.loads(value)
        except (ValueError, RecursionError):
            refuse(f"{value!r} is not JSON", hint=f"write {key[:-1]}={value} for a text")
    return found


def _cases(name: str) -> "tuple[Case, ...]":
    from policy.access.cases import parse_cases

    content = read_file(name)
    try:
        return parse_cases(content, media_type_of(name, content))
    except InvalidDocument as error:
        problems = [
            {"message": p.message, "path": p.path, "line": p.line, "column": p.column}
            | {"hint": p.hint}
            for p in error.problems
        ]
        extra = {"problems": problems, "file": name}
        raise Problem(Status.INVALID, str(error), extra=extra) from error


def _row(case: "Case", result: Any) -> list[str]:
    passed = "pass" if result["passed"] else "FAIL"
    return [passed, case.as_, case.do, case.name, case.expect, result["why"]]
