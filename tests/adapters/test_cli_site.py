"""The commands against a running site, as programs."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.message import Status
from tests.running import HILUM, Gateway, Service, environment
from tests.support import ROOT

PLANS = "cli-plans"


@pytest.fixture(scope="module")
def service():
    with Service() as running:
        yield running


@pytest.fixture(scope="module")
def site(running_site, service):
    """The shared site with a microservice of this module's."""
    methods = {
        "create": {
            "endpoints": [{"url": service.url + "/p/{user}", "args": {"user": "path", "*": "body"}}]
        },
        "plain": {"endpoints": [{"url": service.url + "/plain"}]},
    }
    channels = {"progress": {"durable": True}, "sandbox": {}, "quiet": {}}
    objects = [{"name": PLANS, "methods": methods, "channels": channels}]
    running_site.register({"microservice": "CliPlans", "objects": objects})
    return running_site


def run(site: Gateway, *arguments: str, code: int = 0, **more: str) -> str:
    done = site.cli(*arguments, **more)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def test_call_with_arguments(site):
    out = run(
        site, "call", f"{PLANS}/create", "--arg", "user=ann lee", "-a", "goal=70", "-a", "x=y"
    )
    assert json.loads(out) == {"goal": 70, "x": "y"}


def test_call_with_json_from_standard_input(site, service):
    out = run(site, "call", f"{PLANS}/create", "-", "-o", "json", stdin='{"user": "ann"}')
    assert json.loads(out) == {}
    assert service.seen[-1][0] == "/p/ann"


def test_call_as_yaml(site):
    out = run(site, "call", f"{PLANS}/plain", '{"a": [1, {"b": null}]}', "--output", "yaml")
    assert out == "a:\n- 1\n- b: null\n"


def test_what_a_service_answers_for_a_pipe_is_not_touched(site):
    payload = '{"b" :1,\n"a":"é"}'
    assert run(site, "call", f"{PLANS}/plain", payload) == payload + "\n"


def test_a_services_own_error_is_told_apart(site, service):
    service.status = 404
    try:
        done = site.cli("call", f"{PLANS}/plain", '{"why": "gone"}')
    finally:
        service.status = 200
    assert done.returncode == Status.PROVIDER_ERROR.wire.exit
    assert json.loads(done.stdout) == {"why": "gone"}
    assert "the service that provides cli-plans/plain answered with HTTP 404" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["call", f"{PLANS}/creat"], Status.NOT_FOUND, f"did you mean localhost/{PLANS}/create?"),
        (["call", "nothing/like/it"], Status.NOT_FOUND, "hilum registry list"),
        (["call", "a//b"], Status.BAD_REQUEST, "at character"),
        (["call", f"{PLANS}/plain", "{bad"], Status.BAD_REQUEST, "not JSON"),
        (["call", f"{PLANS}/plain", "{}", "-a", "b=1"], Status.BAD_REQUEST, "not both"),
        (["call", f"{PLANS}/plain", "-a", "b"], Status.BAD_REQUEST, "not key=value"),
        (["call", f"{PLANS}/plain", "--timeout", "0"], Status.BAD_REQUEST, "timeout"),
        (["watch", f"{PLANS}/quiet", "--after", "x"], Status.BAD_REQUEST, "no event id"),
        (["watch", "nothing"], Status.NOT_FOUND, "not registered"),
        (["get", "Acess"], Status.BAD_REQUEST, "AccessPolicy"),
        (["get", "AccessPolicy", "none-such"], Status.NOT_FOUND, "none-such"),
        (["delete", "AccessPolicy", "none-such"], Status.NOT_FOUND, "none-such"),
        (["delete", "AccessPolicy"], Status.BAD_REQUEST, "NAME"),
        (["apply", "-f", "/none/such.yaml"], Status.BAD_REQUEST, "cannot read /none/such.yaml"),
        (["token", "issue", "ann"], Status.INVALID, "realm:subject"),
        (["token", "issue"], Status.BAD_REQUEST, "for whom"),
        (["token", "issue", "user:ann", "--ttl", "soon"], Status.BAD_REQUEST, "12h"),
        (["token", "revoke"], Status.BAD_REQUEST, "--principal"),
        (["token", "revoke", "0123456789abcdef"], Status.NOT_FOUND, "no such token"),
        (["token", "list", "--token", "hlm_wrong"], Status.UNAUTHENTICATED, "--token-file"),
        (["token", "list", "--token", "a\nb"], Status.BAD_REQUEST, "no token"),
        (["token", "list", "--token-file", "/none/such"], Status.BAD_REQUEST, "/none/such"),
        (["registry", "list", "--url", "ftp://a"], Status.BAD_REQUEST, "use http or https"),
        (["deadletter", "redrive", "12345"], Status.NOT_FOUND, "12345"),
        (["nonsense"], Status.BAD_REQUEST, "nonsense"),
    ],
)
def test_an_error_says_what_is_wrong_and_exits_with_its_code(site, arguments, status, said):
    assert said in run(site, *arguments, code=status.wire.exit)


def test_who_may_not_is_told_which_policy_says_so(site):
    token = site.token_for("service:cli-nobody")
    said = run(site, "call", f"{PLANS}/plain", code=Status.DENIED.wire.exit, HILUM_TOKEN=token)
    assert "service:cli-nobody may not" in said
    assert "hilum policy explain" in said


def test_without_a_token_nothing_is_shown(site, tmp_path):
    code = Status.UNAUTHENTICATED.wire.exit
    said = run(site, "get", code=code, HILUM_TOKEN="", HILUM_STATE=str(tmp_path))
    assert "--token" in said


def test_a_token_can_come_from_a_file(site, tmp_path):
    path = tmp_path / "token"
    path.write_text(site.token + "\n")
    assert "site:admin" in run(site, "token", "list", "--token-file", str(path), HILUM_TOKEN="")
    out = run(site, "token", "list", HILUM_TOKEN="", HILUM_TOKEN_FILE=str(path))
    assert "site:admin" in out


def test_publish_and_watch(site):
    events = [
        run(site, "publish", f"{PLANS}/progress", text).strip() for text in ('{"n": 1}', "hi")
    ]
    out = run(site, "watch", f"{PLANS}/progress", "--after", "oldest", "--count", "2")
    first, second = (line.split("  ", 3) for line in out.splitlines())
    assert first[1:] == [events[0], "site:admin", '{"n": 1}']
    assert second[1:] == [events[1], "site:admin", "hi"]
    out = run(
        site, "watch", f"{PLANS}/progress", "--after", events[0], "--count", "1", "-o", "json"
    )
    event = json.loads(out)
    assert (event["id"], event["data"]) == (events[1], "hi")


def test_watch_says_where_events_are_missing(site):
    run(site, "publish", f"{PLANS}/progress", "after the gap")
    arguments = ("watch", f"{PLANS}/progress", "--after", "0badcafe-7", "--count", "1")
    done = site.cli(*arguments)
    assert "missing here (foreign)" in done.stderr
    done = site.cli(*arguments, "--output", "json")
    gap, event = map(json.loads, done.stdout.splitlines())
    assert (gap["type"], gap["reason"]) == ("gap", "foreign")
    assert event["type"] == "hilum.event"


def test_watch_ends_cleanly_with_ctrl_c(site):
    process = subprocess.Popen(
        [*HILUM, "watch", f"{PLANS}/quiet"],
        cwd=ROOT,
        env=environment(HILUM_URL=site.url, HILUM_TOKEN=site.token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(process.stdout.readline)
        while not reading.done():  # published until the watch has begun
            run(site, "publish", f"{PLANS}/quiet", "tick")
            time.sleep(0.1)
    process.send_signal(2)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == ""


def test_a_reader_that_has_seen_enough_is_no_error(site):
    command = f"{' '.join(HILUM)} registry list --all --output json | head -n 1"
    variables = environment(HILUM_URL=site.url, HILUM_TOKEN=site.token)
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_replay_keeps_the_spacing(site):
    for number in range(3):
        run(site, "publish", f"{PLANS}/quiet", f"{number}")
    last = run(site, "publish", f"{PLANS}/quiet", "-", stdin="\x00bytes", code=0).strip()
    incarnation, _, sequence = last.rpartition("-")
    first = f"{incarnation}-{int(sequence) - 2}"
    arguments = ("--from", first, "--to", last, "--speed", "1000")
    out = run(site, "replay", f"{PLANS}/quiet", "--into", f"{PLANS}/sandbox", *arguments)
    assert out == f"3 events of {PLANS}/quiet published to {PLANS}/sandbox\n"
    out = run(site, "watch", f"{PLANS}/sandbox", "--after", "oldest", "--count", "3", "-o", "json")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event.get("data") for event in events] == [1, 2, None]
    assert events[2]["data_base64"] == "AGJ5dGVz"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--into", f"{PLANS}/quiet"], "into itself"),
        (["--into", f"{PLANS}/sandbox", "--from", "x"], "no event id"),
        (["--into", f"{PLANS}/sandbox", "--from", "other-1"], "different incarnations"),
    ],
)
def test_a_replay_that_makes_no_sense_is_refused(site, arguments, said):
    run(site, "publish", f"{PLANS}/quiet", "something")
    code = Status.BAD_REQUEST.wire.exit
    assert said in run(site, "replay", f"{PLANS}/quiet", *arguments, code=code)


def test_registry_list_and_descriptions(site):
    out = run(site, "registry", "list", PLANS, "--kind", "channel")
    names = [line.split()[0] for line in out.splitlines()]
    assert names == ["NAME", *(f"localhost/{PLANS}/{c}" for c in ("progress", "quiet", "sandbox"))]
    assert "$site" not in run(site, "registry", "list")
    assert "localhost/$site/policy/apply" in run(site, "registry", "list", "--all")
    assert "localhost/$site/policy/apply" in run(site, "registry", "list", "$site/policy")
    assert json.loads(run(site, "describe", PLANS, "-o", "json"))["name"] == f"localhost/{PLANS}"
    assert "Method create" in run(site, "describe", PLANS)
    assert "Microservice CliPlans" in run(site, "introspect", "CliPlans")
    assert json.loads(run(site, "introspect", "CliPlans", "-o", "json"))["registrations"]


POLICY = """\
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: cli-ann}
spec:
  effect: allow
  subjects: [{principal: "user:ann"}]
  actions: [call]
  names: ["cli-plans/**"]
"""


def test_a_policy_from_apply_to_delete(site, tmp_path):
    path = tmp_path / "ann.yaml"
    path.write_text(POLICY)
    assert "denied" in run(site, "policy", "explain", f"{PLANS}/plain", "--as", "user:ann")
    out = run(site, "apply", "-f", str(path), "--dry-run")
    assert "+ AccessPolicy/cli-ann" in out
    assert "cli-ann" not in run(site, "get", "accesspolicies")
    assert run(site, "apply", "-f", str(path)).split()[-2:] == ["1", "created"]
    assert run(site, "apply", "-f", str(path)).split()[-2:] == ["1", "unchanged"]
    manifest = run(site, "get", "AccessPolicy", "cli-ann", "--output", "yaml")
    changed = manifest.replace("- call", "- publish")
    assert run(site, "apply", "-f", "-", stdin=changed).split()[-2:] == ["2", "replaced"]
    code = Status.CONFLICT.wire.exit
    assert "revision 2" in run(site, "apply", "-f", "-", stdin=changed, code=code)
    out = run(site, "policy", "explain", "--as", "user:ann", "--do", "publish", f"{PLANS}/quiet")
    assert "AccessPolicy/cli-ann" in out
    assert "allowed" in out
    assert run(site, "delete", "accesspolicy", "cli-ann") == "AccessPolicy/cli-ann deleted\n"


def test_a_manifest_that_is_wrong_is_told_with_file_line_and_column(site, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(POLICY.replace("allow", "alow").replace("actions", "action"))
    said = run(site, "apply", "-f", str(path), code=Status.INVALID.wire.exit)
    assert f"{path}:5:11: " in said
    assert 'did you mean "allow"?' in said
    said = run(site, "apply", "-f", "-", stdin='{"kind": }', code=Status.INVALID.wire.exit)
    assert "standard input:1:10" in said


def test_a_token_from_issue_to_revoke(site):
    out = run(site, "token", "issue", "service:cli", "--ttl", "5m", "--note", "t", "-o", "json")
    issued = json.loads(out)
    done = site.cli("token", "issue", "service:cli", "--attribute", "rank=Nurse")
    assert done.stdout.startswith("hlm_")
    assert len(done.stdout.splitlines()) == 1
    assert "service:cli" in done.stderr
    listed = run(site, "token", "list")
    assert issued["id"] in listed
    assert issued["token"] not in listed
    assert run(site, "token", "revoke", issued["id"]) == f"{issued['id']} revoked\n"
    run(site, "token", "revoke", "--principal", "service:cli")
    assert "service:cli " not in run(site, "token", "list")


def test_a_dry_run_says_what_would_have_been_decided_differently(site):
    token = site.token_for("user:cli-eve", "user")
    site.allow("cli-eve", {"principal": "user:cli-eve"}, "call", f"{PLANS}/plain")
    run(site, "call", f"{PLANS}/plain", "{}", HILUM_TOKEN=token)
    policy = POLICY.replace("allow", "deny").replace("ann", "eve").replace("cli-eve", "cli-no-eve")
    policy = policy.replace("user:eve", "user:cli-eve")
    out = run(site, "apply", "-f", "-", "--dry-run", stdin=policy)
    assert "would be decided differently" in out
    assert "user:cli-eve" in out
    run(site, "call", f"{PLANS}/plain", "{}", HILUM_TOKEN=token)


def test_nobody_there_is_told_with_what_to_do(tmp_path, site):
    code = Status.UNAVAILABLE.wire.exit
    said = run(site, "get", code=code, HILUM_URL="http://127.0.0.1:9")
    assert "nothing listens at http://127.0.0.1:9" in said
    assert "hilum serve" in said
