"""The commands of ``hilum`` and their places, each with examples for its help."""

import typer

from adapters.cli import (
    accounts,
    audit,
    authority,
    deadletters,
    devices,
    exchange,
    observing,
    passwords,
    policies,
    questions,
    registry,
    serving,
    streams,
    tokens,
    traffic,
)
from adapters.cli.commands import OPERATION, POLICY, SITE, TRAFFIC, Command
from adapters.cli.discovering import DISCOVERY, DISCOVERY_GROUPS

GROUPS = {
    "audit": "The audit log.",
    "policy": "Ask about policies, test them, exchange them.",
    "registry": "What exists.",
    "token": "Bearer tokens.",
    "password": "Passwords that people choose.",
    "secret": "Secrets that devices log in with.",
    "ca": "The site's own certificate authority.",
    "device": "Devices and their credentials.",
    "deadletter": "Events that could not be delivered.",
    **DISCOVERY_GROUPS,
}
AUTHORITY = (
    Command("ca init", authority.init, OPERATION, ("hilum ca init", "hilum ca init --days 730")),
    Command(
        "ca issue",
        authority.issue,
        OPERATION,
        (
            "hilum ca issue service:weather --out weather",
            "hilum ca issue device:door --kind device --csr door.csr --offline",
            "hilum ca issue --host gateway.example --host 10.0.0.7 --out listener",
        ),
    ),
    Command("ca revoke", authority.revoke, OPERATION, ("hilum ca revoke 5f3a01c2d4e5f607",)),
    Command(
        "ca list",
        authority.list_certificates,
        OPERATION,
        ("hilum ca list", "hilum ca list --output json"),
    ),
    Command(
        "device add",
        devices.add,
        OPERATION,
        (
            "hilum device add device:thermometer",
            "hilum device add device:door --ttl 15m --attribute room=hall",
        ),
    ),
    Command(
        "device rotate",
        devices.rotate,
        OPERATION,
        ("hilum device rotate device:thermometer --overlap 1d",),
    ),
    Command(
        "device revoke",
        devices.revoke,
        OPERATION,
        (
            "hilum device revoke psk:3f9a01c2d4e5f607",
            "hilum device revoke --principal device:thermometer",
        ),
    ),
    Command("device list", devices.list_credentials, OPERATION, ("hilum device list",)),
)
COMMANDS = (
    Command(
        "serve",
        serving.serve,
        SITE,
        (
            "hilum serve",
            "hilum serve --config site.toml",
            "hilum serve --state ./state --http 127.0.0.1:0 --control 127.0.0.1:0 --output json",
        ),
    ),
    Command(
        "check",
        serving.check_config,
        SITE,
        ("hilum check --config site.toml", "hilum check --output json"),
    ),
    Command("version", serving.version, SITE, ("hilum version", "hilum version --output json")),
    Command(
        "apply",
        policies.apply,
        POLICY,
        (
            "hilum apply -f site.yaml --dry-run",
            "hilum apply -f access.yaml -f bindings.json",
            "hilum get AccessPolicy phones -o yaml | sed s/call/publish/ | hilum apply -f -",
        ),
    ),
    Command(
        "get",
        policies.get,
        POLICY,
        ("hilum get", "hilum get AccessPolicy", "hilum get AccessPolicy phones --output yaml"),
    ),
    Command("delete", policies.delete, POLICY, ("hilum delete AccessPolicy phones",)),
    Command(
        "policy explain",
        questions.explain,
        POLICY,
        (
            "hilum policy explain --as service:phone --do call weather/now",
            "hilum policy explain --as user:ann --do subscribe plans/progress --group readers",
            "hilum policy explain --as service:sky --do bind weather/now "
            "--endpoint http://10.0.0.7:80",
            "hilum policy explain --as user:ann --attribute age:=17 --at 2026-03-01T23:00 "
            "--threat 5 plans/goal",
        ),
    ),
    Command(
        "policy shadow",
        questions.shadow,
        POLICY,
        ("hilum policy shadow", "hilum policy shadow stricter --output json"),
    ),
    Command(
        "policy test",
        questions.check,
        POLICY,
        (
            "hilum policy test expected.yaml",
            "hilum policy test expected.yaml --policies new.yaml",
            "hilum policy test --schema",
        ),
    ),
    Command(
        "policy export",
        exchange.export_policies,
        POLICY,
        ("hilum policy export", "hilum policy export --model m.conf --policy p.csv"),
    ),
    Command(
        "policy import",
        exchange.import_policies,
        POLICY,
        (
            "hilum policy import --model rbac.conf --policy rbac.csv --action read=call "
            "--action write=publish",
            "hilum policy import --realm crm --under Shop --dry-run",
        ),
    ),
    Command(
        "call",
        traffic.call,
        TRAFFIC,
        (
            "hilum call weather/now",
            """hilum call plans/createPlan '{"user": "ann", "goal": 70}'""",
            "hilum call plans/createPlan --arg user=ann --arg goal=70 --timeout 5",
        ),
    ),
    Command(
        "publish",
        traffic.publish,
        TRAFFIC,
        (
            """hilum publish plans/progress '{"kg": 71.5}'""",
            "hilum publish plans/notes 'well done'",
            "hilum publish cameras/door/pictures --content-type image/jpeg - < door.jpg",
        ),
    ),
    Command(
        "watch",
        streams.watch,
        TRAFFIC,
        (
            "hilum watch plans/progress",
            "hilum watch plans/progress --after oldest --count 10 --output json",
            "hilum watch plans/progress --group readers",
        ),
    ),
    Command(
        "replay",
        streams.replay,
        TRAFFIC,
        (
            "hilum replay wristband/calories --into sandbox/day --speed 60",
            "hilum replay wristband/calories --into sandbox/day --from 3f9a01c2-120 "
            "--to 3f9a01c2-180",
        ),
    ),
    Command(
        "describe",
        registry.describe,
        OPERATION,
        (
            "hilum describe plans",
            "hilum describe plans --output json",
            "hilum describe Recommender --format html > recommender.html",
            "hilum describe plans --format td",
        ),
    ),
    Command(
        "introspect",
        traffic.introspect,
        OPERATION,
        ("hilum introspect Recommender", "hilum introspect Recommender --output json"),
    ),
    Command(
        "registry list",
        registry.list_names,
        OPERATION,
        ("hilum registry list", "hilum registry list plans --kind method"),
    ),
    Command(
        "token issue",
        tokens.issue,
        OPERATION,
        (
            "hilum token issue service:weather",
            "hilum token issue user:ann --kind user --ttl 30d --attribute rank=Nurse",
            "hilum token issue --offline --save",
        ),
    ),
    Command(
        "token list",
        tokens.list_tokens,
        OPERATION,
        ("hilum token list", "hilum token list --output json"),
    ),
    Command(
        "token revoke",
        tokens.revoke,
        OPERATION,
        (
            "hilum token revoke 3f9a01c2d4e5f607",
            "hilum token revoke --principal service:weather",
        ),
    ),
    Command(
        "password set",
        passwords.set_password,
        OPERATION,
        (
            "hilum password set ann",
            "hilum password set ann --principal staff:ann --attribute roles=nurse --stdin",
        ),
    ),
    Command(
        "secret issue",
        passwords.issue_secret,
        OPERATION,
        (
            "hilum secret issue device:thermometer",
            "hilum secret issue device:thermometer --user t-17 --ttl 365d",
        ),
    ),
    Command(
        "top",
        observing.top,
        OPERATION,
        ("hilum top", "hilum top plans --sort errors", "hilum top --once --output json"),
    ),
    Command(
        "trace",
        observing.trace,
        OPERATION,
        (
            "hilum trace plans/**",
            "hilum trace --decision denied",
            "hilum trace plans/progress --as service:wristband --output json",
        ),
    ),
    Command(
        "audit verify",
        audit.check,
        OPERATION,
        (
            "hilum audit verify",
            "hilum audit verify /var/lib/hilum/audit --output json",
            "hilum audit verify copy/ --anchor "
            "17:f4a7c1d08be2f4a7c1d08be2f4a7c1d08be2f4a7c1d08be2f4a7c1d08be2f4a7",
        ),
    ),
    Command(
        "audit tail",
        audit.tail,
        OPERATION,
        ("hilum audit tail --count 50", "hilum audit tail --follow --output json"),
    ),
    Command(
        "accounts",
        accounts.accounts,
        OPERATION,
        ("hilum accounts", "hilum accounts --bindings --output json", "hilum accounts --csv"),
    ),
    *AUTHORITY,
    *DISCOVERY,
    Command("deadletter list", deadletters.list_letters, OPERATION, ("hilum deadletter list",)),
    Command(
        "deadletter redrive", deadletters.redrive, OPERATION, ("hilum deadletter redrive 17 18",)
    ),
    Command("deadletter delete", deadletters.delete, OPERATION, ("hilum deadletter delete 17",)),
)


def build() -> typer.Typer:
    """Return the command line."""
    app = typer.Typer(
        help="Hilum: call, publish and subscribe by name, over any protocol, under your policies.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        epilog=_shown(("hilum serve", "hilum registry list", "hilum call weather/now")),
    )
    groups: dict[str, typer.Typer] = {"": app}
    for command in COMMANDS:
        group, _, name = command.words.rpartition(" ")
        if group not in groups:
            parent = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
            app.add_typer(parent, name=group, help=GROUPS[group], rich_help_panel=command.panel)
            groups[group] = parent
        panel = None if group else command.panel
        add = groups[group].command(name, epilog=_shown(command.examples), rich_help_panel=panel)
        add(command.function)
    return app


def _shown(examples: tuple[str, ...]) -> str:
    """Return the end of a command's help."""
    lines = "\n".join(f"  $ {line}" for line in examples).replace("[", r"\[")
    return f"\b\n[bold]Examples[/bold]\n{lines}"
