"""Sites that believe the provider's tokens, and let people log in with it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from tests.oidc.provider import SECRETS, Provider
from tests.running import Gateway
from tests.support import free_port

MAY = {
    "effect": "allow",
    "subjects": [{"principal": "corp:ann"}],
    "actions": ["call", "describe", "administer"],
    "names": ["$site/registry/**", "$site/policy/**", "**"],
    "description": "Ann looks after this site & its <things>.",
}


@contextlib.contextmanager
def running_site(
    provider: Provider, folder: Path, identity: str = "", client: str = "hilum-control"
) -> Iterator[Gateway]:
    """Run a site whose control plane people log in at; ``identity`` are further settings."""
    control = f"127.0.0.1:{free_port()}"
    secret = ""
    if client in SECRETS:
        file = folder / "client.secret"
        file.write_text(SECRETS[client] + "\n")
        secret = f'client_secret_file = "{file}"'
    config = f"""
[control]
login = "corp"
[identity]
{identity}
[[issuer]]
url = "{provider.issuer}"
realm = "corp"
audience = "hilum"
roles_claim = "roles"
insecure = true
client_id = "{client}"
{secret}
"""
    provider.redirect(f"http://{control}/login/callback")
    with Gateway(folder, config=config, control=control) as site:
        yield site


def let_ann_in(site: Gateway) -> None:
    """Let the person ann see what is registered, and change policies; nobody else may."""
    document = {
        "apiVersion": "hilum/v1",
        "kind": "AccessPolicy",
        "metadata": {"name": "ann"},
        "spec": MAY,
    }
    site.apply(json.dumps(document))
