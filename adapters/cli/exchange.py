"""Commands that exchange policies with casbin: export, import. Casbin itself is an extra."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from adapters.cli.options import DEFAULT_URL, Output, Token, TokenFile, Url, connect, refuse
from adapters.cli.output import Format, data, note, show
from adapters.cli.policies import pairs, read_file, show_answers
from adapters.cli.yaml import to_yaml
from gateway.message import Status
from policy.model import KINDS, Action

if TYPE_CHECKING:
    from policy.casbin_exchange.importing import Manifest, Wishes


class Exchange(StrEnum):
    """The formats that policies are exchanged in."""

    CASBIN = "casbin"


Form = Annotated[Exchange, typer.Option("--format", help="What to exchange with.")]
Model = Annotated[Path, typer.Option(help="The file of casbin's model.")]
Policy = Annotated[Path, typer.Option(help="The file of casbin's policy: CSV.")]


def export_policies(
    model: Model = Path("model.conf"),
    policy: Policy = Path("policy.csv"),
    form: Form = Exchange.CASBIN,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Write the access policies as a model and policy that casbin decides the same with."""
    answer = connect(url, token, token_file).ask("policy/get", {})
    _casbin(form)
    from policy.casbin_exchange.text import to_casbin

    policies = {
        (item["kind"], item["metadata"]["name"]): msgspec.convert(item["spec"], KINDS[item["kind"]])
        for item in answer["items"]
        if item["kind"] in KINDS
    }
    text = to_casbin(policies, answer["authority"])
    for path, content in ((model, text.model), (policy, text.policy)):
        try:
            path.write_text(content)
        except OSError as error:
            refuse(f"cannot write {path}: {error.strerror}")
    rows = sum(line.startswith("p,") for line in text.policy.splitlines())
    written = {"model": str(model), "policy": str(policy), "rows": rows}
    show(output, written, list(written), [list(written.values())])
    for line in text.policy.splitlines():
        if line.startswith("# not said: "):
            note(line.removeprefix("# "), "yellow")


def import_policies(
    model: Model = Path("model.conf"),
    policy: Policy = Path("policy.csv"),
    form: Form = Exchange.CASBIN,
    realm: Annotated[str, typer.Option(help="The realm of casbin's subjects.")] = "user",
    action: Annotated[
        list[str] | None,
        typer.Option(help="What an action of casbin is here: read=call, write=publish."),
    ] = None,
    under: Annotated[str, typer.Option(help="The name that casbin's objects lie below.")] = "",
    name: Annotated[str, typer.Option(help="How the policies' names begin.")] = "casbin",
    matching: Annotated[
        list[str] | None,
        typer.Option(help="The function that matches objects of a role manager: g2=keyMatch2."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Apply them instead of printing.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what applying them would change.")
    ] = False,
    url: Url = DEFAULT_URL,
    token: Token = "",
    token_file: TokenFile = None,
    output: Output = Format.TABLE,
) -> None:
    """Print the manifests that decide as a model and policy of casbin do, or apply them."""
    _casbin(form)
    from policy.casbin_exchange.importing import Wishes

    wishes = Wishes(realm, _actions(action or []), under, name, pairs(matching or []))
    manifests = _manifests(_text(model), _text(policy), wishes)
    if apply or dry_run:
        _send(connect(url, token, token_file), manifests, output, dry_run=dry_run)
    elif output is Format.JSON:
        data(output, manifests)
    else:
        typer.echo("---\n".join(map(to_yaml, manifests)), nl=False)


def _casbin(form: Exchange) -> None:
    """Refuse what cannot be done here: casbin is wanted by these commands only."""
    try:
        import policy.casbin_exchange.store  # noqa: F401
    except ModuleNotFoundError as error:
        hint = "install Hilum with its extra: hilum[casbin]"
        refuse(f"the format {form} needs {error.name}", status=Status.UNAVAILABLE, hint=hint)


def _text(path: Path) -> str:
    try:
        return read_file(str(path)).decode()
    except UnicodeDecodeError as error:
        refuse(f"{path} is no UTF-8: byte {error.start}", status=Status.INVALID)


def _actions(texts: Sequence[str]) -> dict[str, Action]:
    """Return the map of actions; those with a name of ours mean the same here."""
    found = {action.value: action for action in Action} if not texts else {}
    for theirs, ours in pairs(list(texts)).items():
        if ours not in [*Action]:
            refuse(f"{ours!r} is no action", hint=f"there are {', '.join(Action)}")
        found[theirs] = Action(ours)
    return found


def _manifests(model: str, policy: str, wishes: "Wishes") -> "list[Manifest]":
    from policy.casbin_exchange.importing import manifests_of
    from policy.casbin_exchange.store import from_casbin, read_foreign
    from policy.casbin_exchange.text import CasbinText, is_ours

    text = CasbinText(model, policy)
    try:
        if is_ours(text):
            return [_manifest(*one) for one in from_casbin(text).items()]
        return manifests_of(read_foreign(text), wishes)
    except ValueError as error:
        refuse(str(error), status=Status.INVALID, hint="docs/policies.md says what can be imported")


def _manifest(which: tuple[str, str], spec: Any) -> "Manifest":
    from policy.language import API_VERSION  # what reads manifests takes a while

    kind, name = which
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "spec": msgspec.to_builtins(spec),
    }


def _send(client: Any, manifests: "list[Manifest]", output: Format, *, dry_run: bool) -> None:
    from policy.language import MAX_MANIFESTS

    method = "policy/preview" if dry_run else "policy/apply"
    answers = []
    for start in range(0, len(manifests), MAX_MANIFESTS):
        payload = msgspec.json.encode(manifests[start : start + MAX_MANIFESTS])
        answers.append(client.document(client.call(f"$site/{method}", payload)))
    show_answers(answers, output, dry_run=dry_run)
