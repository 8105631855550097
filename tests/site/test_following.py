"""Two sites that follow each other's directories over mutual TLS, each in a process of its own."""

import contextlib
import os
import time
from unittest import mock

import pytest

from tests.running import Gateway, hilum

TLS = """
tls_certificate = "{folder}/listener.pem"
tls_key = "{folder}/listener.key"
client_certificates = "optional"
"""
CONFIG = """
[site]
authority = "{authority}"
[http]
{tls}
[control]
{tls}
[mqtt]
enabled = false
[coap]
enabled = false
"""
REMOTE = """
[[remote]]
authority = "{other}"
url = "{url}"
follow = true
certificate = "{folder}/site.pem"
key = "{folder}/site.key"
ca = "{ca}"
stale_seconds = 1.5
forget_seconds = 4
"""
HOSTS = ("--host", "localhost", "--host", "127.0.0.1")


class Half:
    """One of the two sites, with a certificate authority of its own."""

    def __init__(self, folder, authority):
        self.folder, self.authority = folder, authority
        folder.mkdir()
        self.state = folder / "state"
        self.offline("ca", "init")
        self.offline("ca", "issue", *HOSTS, "--out", f"{folder}/listener")
        self.ca = self.state / "ca" / "ca.pem"
        self.config = CONFIG.format(authority=authority, tls=TLS.format(folder=folder))
        self.gateway = Gateway(folder, config=self.config)

    def offline(self, *words):
        done = hilum(*words, "--state", str(self.state))
        assert done.returncode == 0, done.stderr

    def trust(self):
        """Return what makes this site's clients believe its certificate."""
        return mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(self.ca)})

    def start(self):
        with self.trust():
            self.gateway.start()
        return self

    def certify(self, other):
        """Give another site a certificate, and let it follow; what it sees is for policy."""
        with self.trust():
            done = self.gateway.cli(
                "ca", "issue", f"site:{other.authority}", "--out", f"{other.folder}/site"
            )
            assert done.returncode == 0, done.stderr
            who = {"principal": f"site:{other.authority}"}
            self.gateway.allow("follower", who, "call", "$site/registry/share")

    def follow(self, other):
        """Restart with a remote to follow."""
        remote = REMOTE.format(
            other=other.authority, url=other.gateway.url, folder=self.folder, ca=other.ca
        )
        (self.folder / "site.toml").write_text(self.config + remote)
        with self.trust():
            self.gateway.restart()

    def allow(self, name, who, actions, names):
        with self.trust():
            self.gateway.allow(name, who, actions, names)

    def register(self, name, **more):
        with self.trust():
            self.gateway.register(
                {
                    "microservice": name.replace("/", "-"),
                    "version": "1",
                    "objects": [{"name": name, "methods": {"on": {}}, **more}],
                }
            )

    def ask(self, method, document=None):
        with self.trust():
            return self.gateway.ask(method, document or {})

    def seen(self, other):
        page = self.ask("registry/remote-things", {"site": other.authority})
        return {thing["id"] for thing in page["items"]}, page["state"]

    def until(self, other, names, state="current"):
        end = time.monotonic() + 15
        wanted = ({f"urn:hilum:{other.authority}/{name}" for name in names}, state)
        while (found := self.seen(other)) != wanted:
            assert time.monotonic() < end, (found, wanted, self.ask("registry/remotes"))
            time.sleep(0.1)


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    with contextlib.ExitStack() as stack:
        north, south = (
            Half(folder / name, f"{name}.example").start() for name in ("north", "south")
        )
        for half in (north, south):
            stack.callback(half.gateway.stop)
        north.certify(south)
        south.certify(north)
        north.follow(south)
        south.follow(north)
        for half, other in ((north, south), (south, north)):
            admin = {"kind": "administrator"}
            half.allow("foreign", admin, "describe", f"{other.authority}/**")
            half.allow("shared", {"principal": f"site:{other.authority}"}, "describe", "shared/**")
            half.register("shared")
            half.register("hidden")
        yield north, south


def test_each_finds_what_the_other_lets_it_describe(halves):
    north, south = halves
    north.until(south, ["shared"])
    south.until(north, ["shared"])
    remotes = north.ask("registry/remotes")["remotes"]
    assert [(one["site"], one["state"], one["refused"]) for one in remotes] == [
        ("south.example", "current", 0)
    ]


def test_a_description_leads_through_its_own_site(halves):
    north, south = halves
    north.until(south, ["shared"])
    (thing,) = north.ask("registry/remote-things", {"site": south.authority})["items"]
    hrefs = [form["href"] for form in thing["actions"]["on"]["forms"]]
    assert any(href.startswith(south.gateway.url) for href in hrefs)


def test_changes_arrive_and_what_is_gone_goes(halves):
    north, south = halves
    south.register("shared/second")
    north.until(south, ["shared", "shared/second"])
    south.ask("registry/destroy", {"name": "shared/second"})
    north.until(south, ["shared"])


def test_a_caller_here_needs_the_right_to_describe_here(halves):
    north, south = halves
    with north.trust():
        token = north.gateway.token_for("user:ann", "user")
        north.gateway.allow("ann", {"principal": "user:ann"}, "call", "$site/registry/*")
        client = north.gateway.client(token)
        page = client.ask("registry/remote-things", {"site": south.authority})
    assert page["items"] == []


def abroad(half, other):
    found = half.ask("registry/discover", {"type": "hilum:VirtualObject"})["items"]
    return [(o["name"], o["stale"]) for o in found if o.get("site") == other.authority]


def test_a_dead_site_is_stale_then_forgotten_then_back(halves):
    north, south = halves
    north.until(south, ["shared"])
    assert abroad(north, south) == [("south.example/shared", False)]
    south.gateway.kill()
    north.until(south, ["shared"], "stale")
    assert abroad(north, south) == [("south.example/shared", True)]
    began = time.monotonic()
    north.register("local")
    assert time.monotonic() - began < 2, "a dead site slows nobody"
    north.until(south, [], "unknown")
    assert abroad(north, south) == []
    south.start()
    north.until(south, ["shared"])
