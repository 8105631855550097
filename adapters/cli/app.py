"""The commands of ``hilum`` and their places, each with examples in its help."""

from collections.abc import Callable
from typing import Any

import typer

from adapters.cli import deadletters, policies, registry, serving, streams, tokens, traffic

SITE = "The site"
POLICY = "Policies"
TRAFFIC = "Traffic"
OPERATION = "Operation"


def examples(*lines: str) -> str:
    """Return the end of a command's help."""
    shown = "\n".join(f"  $ {line}" for line in lines).replace("[", r"\[")
    return f"\b\n[bold]Examples[/bold]\n{shown}"


def _group(name: str, panel: str, text: str, parent: typer.Typer) -> typer.Typer:
    group = typer.Typer(help=text, no_args_is_help=True, rich_markup_mode="rich")
    parent.add_typer(group, name=name, rich_help_panel=panel)
    return group


def _add(
    parent: typer.Typer, name: str, function: Callable[..., Any], panel: str | None, *lines: str
) -> None:
    parent.command(name, rich_help_panel=panel, epilog=examples(*lines), no_args_is_help=False)(
        function
    )


def build() -> typer.Typer:
    """Return the command line."""
    app = typer.Typer(
        help="Hilum: call, publish and subscribe by name, over any protocol, under your policies.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        epilog=examples("hilum serve", "hilum registry list", "hilum call weather/now/get"),
    )
    _site(app)
    _policies(app)
    _traffic(app)
    _operation(app)
    return app


def _site(app: typer.Typer) -> None:
    _add(
        app,
        "serve",
        serving.serve,
        SITE,
        "hilum serve",
        "hilum serve --config site.toml",
        "hilum serve --state ./state --http 127.0.0.1:0 --control 127.0.0.1:0 --output json",
    )
    _add(
        app,
        "check",
        serving.check_config,
        SITE,
        "hilum check --config site.toml",
        "hilum check --output json",
    )
    _add(app, "version", serving.version, SITE, "hilum version", "hilum version --output json")


def _policies(app: typer.Typer) -> None:
    _add(
        app,
        "apply",
        policies.apply,
        POLICY,
        "hilum apply -f site.yaml --dry-run",
        "hilum apply -f access.yaml -f bindings.json",
        "hilum get AccessPolicy phones -o yaml | sed s/call/publish/ | hilum apply -f -",
    )
    _add(
        app,
        "get",
        policies.get,
        POLICY,
        "hilum get",
        "hilum get AccessPolicy",
        "hilum get AccessPolicy phones --output yaml",
    )
    _add(app, "delete", policies.delete, POLICY, "hilum delete AccessPolicy phones")
    _add(
        app,
        "explain",
        policies.explain,
        POLICY,
        "hilum explain weather/now/get --as service:phone --do call",
        "hilum explain plans/progress --as user:ann --kind user --do subscribe --group readers",
        "hilum explain weather/now/get --as service:weather --do bind --endpoint http://10.0.0.7:80",
    )


def _traffic(app: typer.Typer) -> None:
    _add(
        app,
        "call",
        traffic.call,
        TRAFFIC,
        "hilum call weather/now/get",
        """hilum call plans/createPlan '{"user": "ann", "goal": 70}'""",
        "hilum call plans/createPlan --arg user=ann --arg goal=70 --timeout 5",
    )
    _add(
        app,
        "publish",
        traffic.publish,
        TRAFFIC,
        """hilum publish plans/progress '{"kg": 71.5}'""",
        "hilum publish plans/notes 'well done'",
        "hilum publish cameras/door/pictures --content-type image/jpeg - < door.jpg",
    )
    _add(
        app,
        "watch",
        streams.watch,
        TRAFFIC,
        "hilum watch plans/progress",
        "hilum watch plans/progress --after oldest --count 10 --output json",
        "hilum watch plans/progress --group readers",
    )
    _add(
        app,
        "replay",
        streams.replay,
        TRAFFIC,
        "hilum replay wristband/calories --into sandbox/day --speed 60",
        "hilum replay wristband/calories --into sandbox/day --from 3f9a01c2-120 --to 3f9a01c2-180",
    )


def _operation(app: typer.Typer) -> None:
    _add(
        app,
        "describe",
        registry.describe,
        OPERATION,
        "hilum describe plans",
        "hilum describe plans -o json",
    )
    _add(
        app,
        "introspect",
        traffic.introspect,
        OPERATION,
        "hilum introspect Recommender",
        "hilum introspect Recommender --output json",
    )
    names = _group("registry", OPERATION, "What exists.", app)
    _add(
        names,
        "list",
        registry.list_names,
        None,
        "hilum registry list",
        "hilum registry list plans --kind method",
    )
    token = _group("token", OPERATION, "Bearer tokens.", app)
    _add(
        token,
        "issue",
        tokens.issue,
        None,
        "hilum token issue service:weather",
        "hilum token issue user:ann --kind user --ttl 30d --attribute rank=Nurse",
        "hilum token issue --offline --save",
    )
    _add(token, "list", tokens.list_tokens, None, "hilum token list", "hilum token list -o json")
    _add(
        token,
        "revoke",
        tokens.revoke,
        None,
        "hilum token revoke 3f9a01c2d4e5f607",
        "hilum token revoke --principal service:weather",
    )
    letters = _group("deadletter", OPERATION, "Events that could not be delivered.", app)
    _add(letters, "list", deadletters.list_letters, None, "hilum deadletter list")
    _add(letters, "redrive", deadletters.redrive, None, "hilum deadletter redrive 17 18")
    _add(letters, "delete", deadletters.delete, None, "hilum deadletter delete 17")
