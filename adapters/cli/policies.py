"""Commands for policies: apply, get, delete."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, say, show
from adapters.client import Client, Problem
from policy.model import KINDS
from registry.names import near

MAX_FILE = 4 * 1024 * 1024
"""Bytes of a manifest file."""

NOT_DURABLE = "in force, but the site's store cannot write now: it is written as soon as it can"

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="A kind of policies, such as AccessPolicy.")
]


def apply(
    files: Annotated[
        list[str],
        typer.Option(
            "--file", "-f", help="A file of manifests, YAML or JSON; - reads standard input."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would change, conflict and be decided.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Create or replace policies. A file is applied whole or not at all."""
    client = connect(url, token, token_file)
    contents = [(name, read_file(name)) for name in files]
    method = "policy/preview" if dry_run else "policy/apply"
    answers = []
    for at, (name, content) in enumerate(contents):
        try:
            answers.append(_send(client, method, name, content))
        except Problem:
            if at and not dry_run:
                note(f"applied before the error: {', '.join(files[:at])}", "yellow")
            raise
    show_answers(answers, output, dry_run=dry_run)


def get(
    kind: Kind = "",
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of one policy.")] = "",
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """List policies, or print one: with --output yaml as it can be changed and applied again."""
    client = connect(url, token, token_file)
    items = client.ask("policy/get", {"kind": kind_of(kind), "name": name})["items"]
    document = items[0] if name and len(items) == 1 else {"items": items}
    columns = ("kind", "name", "revision", "says")
    show(output, document, columns, [_row(item) for item in items])


def delete(
    kind: Kind,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the policy.")],
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Delete a policy."""
    client = connect(url, token, token_file)
    answer = client.ask("policy/delete", {"kind": kind_of(kind), "name": name})
    if output is Format.TABLE:
        say(f"{answer['kind']}/{answer['name']} deleted")
    else:
        data(output, answer)


def pairs(texts: list[str]) -> dict[str, str]:
    """Read ``key=value`` texts."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            refuse(f"{text!r} is not key=value")
        found[key] = value
    return found


def kind_of(text: str) -> str:
    """Return the kind that a text means: in any case, in the plural too."""
    if not text:
        return ""
    wanted = text.lower()
    for kind in KINDS:
        singular = kind.lower()
        if wanted in (singular, f"{singular}s", f"{singular[:-1]}ies"):
            return kind
    close = near(text, KINDS)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(KINDS)}"
    return refuse(f"{text!r} is no kind of policies", hint=hint)


def read_file(name: str) -> bytes:
    """Return what a file holds; ``-`` is standard input."""
    try:
        if name == "-":
            content = sys.stdin.buffer.read(MAX_FILE + 1)
        else:
            with Path(name).open("rb") as file:
                content = file.read(MAX_FILE + 1)
    except OSError as error:
        refuse(f"cannot read {name}: {error.strerror}")
    if len(content) > MAX_FILE:
        refuse(f"{name} is larger than {MAX_FILE} bytes")
    return content


def media_type_of(name: str, content: bytes) -> str:
    """Tell JSON from YAML, by the file's name or its first character."""
    is_json = name.endswith(".json") or content.lstrip()[:1] in (b"{", b"[")
    return "application/json" if is_json else "application/yaml"


def _send(client: Client, method: str, name: str, content: bytes) -> Any:
    try:
        answer = client.call(f"$site/{method}", content, media_type_of(name, content))
        return client.document(answer)
    except Problem as problem:
        problem.extra["file"] = "standard input" if name == "-" else name
        raise


def show_answers(answers: list[Any], output: Format, *, dry_run: bool) -> None:
    """Show what applying manifests in parts has changed, or would change."""
    if output is not Format.TABLE:
        data(output, answers[0] if len(answers) == 1 else answers)
    elif dry_run:
        for answer in answers:
            _show_preview(answer)
    else:
        applied = [one for answer in answers for one in answer["applied"]]
        columns = ("kind", "name", "revision", "result")
        show(output, applied, columns, [[one[c] for c in columns] for one in applied])
        for answer in answers:
            for conflict in answer.get("conflicts", []):
                note(conflict, "yellow")
            if not answer.get("durable", True):
                note(NOT_DURABLE, "yellow")


def _show_preview(answer: Any) -> None:
    for change in answer["changes"]:
        lines = change["difference"] or [f"= {change['kind']}/{change['name']}"]
        for line in lines:
            style = {"+": "green", "-": "red", "~": "yellow"}.get(line.strip()[:1], "dim")
            say(line, style)
    for conflict in answer["conflicts"]:
        say(f"conflict: {conflict}", "red")
    for decision in answer["decisions"]:
        say(f"would be decided differently: {decision}", "yellow")
    note("nothing was changed: this was a dry run")


def _row(item: dict[str, Any]) -> list[Any]:
    metadata, spec = item["metadata"], item["spec"]
    says, end = summary(item["kind"], spec), metadata.get("expires")
    if end:
        says = f"until {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M:%S} UTC: {says}"
    return [item["kind"], metadata["name"], metadata["revision"], says]


def summary(kind: str, spec: dict[str, Any]) -> str:
    """Say in one line what a policy says."""
    if spec.get("description"):
        return str(spec["description"])
    if kind == "Binding":
        if spec.get("source"):
            return f"{spec['name']} <- {spec['source']}"
        return f"{spec['name']} -> {spec.get('endpoint') or spec.get('call', '')}"
    names = " ".join(spec.get("names", []))
    if kind == "ResolutionPolicy":
        choices = ", ".join(map(_choice, spec.get("choices", [])))
        return f"{names} -> {choices or 'any'}"
    if kind == "TopicSpace":
        return f"whoever may uses {names} without registering"
    if kind == "FirstUsePolicy":
        return f"{spec.get('call') or spec.get('plugin')} decides about first uses of {names}"
    if kind == "Environment":
        return f"threat level {spec.get('threat', 0)}"
    if kind == "QualityPolicy":
        return f"{names}: {', '.join(key for key in spec if key not in ('names', 'subjects'))}"
    who = " ".join(s.get("principal") or s.get("kind", "*") for s in spec.get("subjects", []))
    actions = " ".join(spec.get("actions", []))
    return f"{spec.get('effect')} {who}: {actions} on {names}"


def _choice(choice: dict[str, Any]) -> str:
    what = choice.get("site") or choice.get("microservice") or "any"
    version = f" {choice['version']}" if choice.get("version") else ""
    return f"{what}{version} ({choice.get('weight', 1)})"
