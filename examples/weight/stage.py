"""Sets everything up: the site, tokens, policies, services, and the demo's clock."""

import json
import time
from pathlib import Path
from typing import Any

from examples.weight.by_http import HttpSite
from examples.weight.children import Child, Children
from examples.weight.day import CHANNEL, Clock
from examples.weight.identities import PRINCIPALS, PROTOCOLS, has_token, keep, make_contexts

HERE = Path(__file__).parent
CONFIGURATION = """\
[site]
authority = "snac.asu.edu"

[log]
level = "info"
"""
LEASE = 3600


class Stage:
    """The running system. ``state`` keeps all of it; ``http`` and ``control`` are addresses."""

    def __init__(self, state: Path, children: Children, http: str, control: str) -> None:
        self.children = children
        self.tokens = state / "tokens"
        self.tokens.mkdir(mode=0o700, exist_ok=True)
        make_contexts(state / "site" / "oscore", self.tokens)
        configuration = state / "site.toml"
        configuration.write_text(CONFIGURATION)
        options = ["--config", str(configuration), "--state", str(state / "site")]
        options += ["--http", http, "--control", control]
        options += ["--mqtt", ":0", "--coap", ":0", "--output", "json"]
        self.ready = json.loads(children.start("site", "gateway", "serve", *options).wait_for("{"))
        self.url: str = self.ready["http"]
        self.operator = HttpSite(self.url, Path(self.ready["token_file"]).read_text().strip())

    def prepare(self) -> int:
        """Apply the policies and issue the tokens; returns how many policies there are."""
        applied = self.apply("policies")
        for name, kind in PRINCIPALS.items():
            if has_token(name):
                asked = {"principal": f"{kind}:{name}", "kind": kind, "note": "weight demo"}
                token = self.operator.call("$site/token/issue", asked)["token"]
                keep(self.tokens / f"{name}.token", token)
        return applied

    def apply(self, file: str) -> int:
        """Apply a file of policies."""
        manifests = (HERE / f"{file}.yaml").read_text()
        apply = "$site/policy/apply"
        return len(self.operator.request("POST", apply, manifests, "application/yaml")["applied"])

    def site_of(self, name: str) -> HttpSite:
        """Return the site as a principal sees it."""
        return HttpSite(self.url, (self.tokens / f"{name}.token").read_text().strip())

    def start(self, module: str, instance: str = "a", token: str = "") -> Child:
        """Start a service with its own token."""
        file = self.tokens / f"{token or module}.token"
        url = self.ready[PROTOCOLS.get(module, "http")]
        options = ["--site", url, "--token-file", str(file), "--instance", instance]
        return self.children.start(f"{module}-{instance}", f"examples.weight.{module}", *options)

    def begin(self, speed: float) -> Clock:
        """Begin the day: say when midnight was, on a channel that every service may read."""
        obj = {"name": "Clock", "channels": {"day": {}}}
        manifest = {"microservice": "Clock", "version": "1.0.0", "lease": LEASE, "objects": [obj]}
        self.operator.call("$site/registry/register", {"apiVersion": "hilum/v1", **manifest})
        clock = Clock(time.time(), speed)
        self.operator.call(CHANNEL, clock._asdict())
        return clock

    def explain(self, principal: str, name: str) -> dict[str, Any]:
        """Ask the site how it decides about a call, and where the call would go."""
        kind, _, _ = principal.partition(":")
        asked = {"principal": principal, "kind": kind, "action": "call", "name": name}
        answer: dict[str, Any] = self.operator.call("$site/policy/explain", asked)
        return answer

    def live(self, microservice: str) -> list[str]:
        """Ask the registry which instances have a lease."""
        registry = "$site/registry/introspect"
        known = self.operator.call(registry, {"name": microservice})["registrations"]
        return [f"{one['version']}/{one['instance']}" for one in known if one["live"]]
