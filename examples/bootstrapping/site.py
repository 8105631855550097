"""The site, and what its operator does: standard library only."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CONFIGURATION = """\
[site]
authority = "{authority}"

[log]
level = "warning"
"""


class Site:
    """A running gateway, and its administrator's view of it."""

    def __init__(
        self,
        folder: Path,
        authority: str = "iot.example",
        more: str = "",
        http: str = "127.0.0.1:0",
    ) -> None:
        configuration = folder / "site.toml"
        configuration.write_text(CONFIGURATION.format(authority=authority) + more)
        command = [sys.executable, "-m", "gateway", "serve", "--config", str(configuration)]
        command += ["--state", str(folder / "state"), "--output", "json"]
        command += ["--http", http]
        for listener in ("--control", "--mqtt", "--coap"):
            command += [listener, "127.0.0.1:0"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.ready: dict[str, str] = json.loads(self._process.stdout.readline())
        self._token = Path(self.ready["token_file"]).read_text().strip()

    def stop(self) -> None:
        """End the gateway."""
        self._process.terminate()
        self._process.communicate()

    def ask(self, method: str, document: object) -> Any:
        """Call a method as the administrator."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        url = f"{self.ready['http']}/{method}"
        request = urllib.request.Request(url, json.dumps(document).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def last(self, channel: str) -> Any:
        """Return a channel's last value."""
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self.ready['http']}/{channel}", headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def offer(self, name: str) -> None:
        """Register the context broker with one channel, where sensors put what they measure."""
        obj, _, channel = name.rpartition("/")
        manifest = {
            "apiVersion": "hilum/v1",
            "microservice": "ContextBroker",
            "version": "1.0.0",
            "lease": 3600,
            "objects": [{"name": obj, "channels": {channel: {}}}],
        }
        self.ask("$site/registry/register", manifest)

    def allow(self, policy: str, principal: str, action: str, name: str) -> None:
        """Apply an access policy: this principal may do this with this name."""
        self.permit(policy, {"principal": principal}, [action], [name])

    def permit(
        self, policy: str, subject: dict[str, str], actions: list[str], names: list[str]
    ) -> None:
        """Apply an access policy: whoever is meant may do these things with these names."""
        spec = {"effect": "allow", "subjects": [subject], "actions": actions, "names": names}
        manifest = {
            "apiVersion": "hilum/v1",
            "kind": "AccessPolicy",
            "metadata": {"name": policy},
            "spec": spec,
        }
        self.ask("$site/policy/apply", manifest)

    def take_back(self, policy: str) -> None:
        """Delete an access policy."""
        self.ask("$site/policy/delete", {"kind": "AccessPolicy", "name": policy})
