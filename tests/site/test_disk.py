"""A full disk: changes are refused clearly, withdrawals hold, calls go on, and nothing is lost."""

import contextlib
import resource
import time

import pytest

from tests.running import Gateway, Service, cli

DENY = """
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: no-more}
spec:
  effect: deny
  subjects: [{principal: "user:ann"}]
  actions: [call]
  names: [s/n]
"""
ALLOW = DENY.replace("deny", "allow").replace("no-more", "more").replace("s/n", "elsewhere")


@pytest.fixture(scope="module")
def service():
    with Service() as service:
        yield service


@pytest.fixture
def site(tmp_path, service):
    with Gateway(tmp_path) as site:
        endpoints = {"endpoints": [{"url": service.url}]}
        channels = {"log": {"durable": True}, "ring": {}}
        objects = [{"name": "s", "methods": {"m": endpoints, "n": endpoints}, "channels": channels}]
        site.register({"microservice": "S", "objects": objects})
        site.allow("ann", {"principal": "user:ann"}, "call publish subscribe", "s/**")
        yield site


@contextlib.contextmanager
def full_disk(site):
    """No file grows beyond 8 KiB: room for the process's own log, not for that of its changes."""
    pid = site.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (8192, before[1]))
    yield
    if site.process is not None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def ready(site):
    reply = site.http("GET", "/readyz", control=True)
    return reply.status, reply.body.decode()


def eventually(check, seconds=10.0):
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.05)


def refused(reply):
    assert reply.status == 503, reply
    problem = reply.json()
    assert problem["type"] == "urn:hilum:problem:unavailable"
    assert int(reply.fields["Retry-After"]) > 0
    return problem["detail"]


def apply(site, policy):
    return site.http("POST", "/$site/policy/apply", policy, content_type="application/yaml")


def test_a_full_disk_refuses_changes_and_forgets_no_withdrawal(site):
    first, second = (site.token_for("user:ann", "user") for _ in range(2))
    event = site.http("POST", "/s/log", "1").json()["id"]
    assert ready(site)[0] == 200
    with full_disk(site):
        calls = [
            site.http(
                "POST", "/$site/registry/deregister", '{"microservice":"S","version":"1.0.0"}'
            ),
            site.http("POST", "/$site/token/issue", '{"principal":"user:bob","kind":"user"}'),
            apply(site, ALLOW),
        ]
        for reply in calls:
            assert "nothing was changed: the site's store cannot write" in refused(reply)
        said = refused(site.http("POST", "/s/log", "2"))
        assert "the event was not stored" in said
        assert str(site.state) not in said
        done = cli("publish", "s/log", "3", HILUM_URL=site.url, HILUM_TOKEN=site.token)
        assert done.returncode == 11
        assert "the event was not stored" in done.stderr

        revoked = site.http("POST", "/$site/token/revoke", f'{{"id":"{first.split("_")[1]}"}}')
        assert (revoked.status, revoked.json()["durable"]) == (200, False)
        denied = apply(site, DENY)
        assert (denied.status, denied.json()["durable"]) == (200, False)

        assert site.http("POST", "/s/m", "4", token=first).status == 401
        assert site.http("POST", "/s/n", "4", token=second).status == 403
        assert site.http("POST", "/s/m", "4", token=second).body == b"4"
        assert site.http("POST", "/s/ring", "5").status == 200
        assert site.http("GET", "/s/log").body == b"1"
        assert site.http("GET", "/healthz", control=True).status == 200
        status, why = ready(site)
        assert status == 503
        assert "2 withdrawals wait" in why
    eventually(lambda: ready(site)[0] == 200)
    assert apply(site, ALLOW).status == 200
    site.kill()
    site.start()
    assert site.http("POST", "/s/m", "6", token=first).status == 401
    assert site.http("POST", "/s/n", "6", token=second).status == 403
    assert site.http("POST", "/s/m", "6", token=second).body == b"6"
    assert {"no-more", "more"} <= {
        item["metadata"]["name"] for item in site.ask("policy/get")["items"]
    }
    assert [
        item["payload"] for item in site.ask("channel/history", {"name": "s/log"})["items"]
    ] == ["1"]
    assert site.http("POST", "/s/log", "7").json()["id"] == event.removesuffix("1") + "2"


def test_a_site_that_stops_on_a_full_disk_says_what_it_owes(site):
    token = site.token_for("user:ann", "user")
    with full_disk(site):
        site.http("POST", "/$site/token/revoke", f'{{"id":"{token.split("_")[1]}"}}')
        assert site.stop() == 0
    said = site.logged()
    assert "the change log: nothing was written" in said
    assert "was never written and ends here: ('ids'" in said
    assert "Traceback" not in said
