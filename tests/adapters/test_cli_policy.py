"""The commands of ``hilum policy`` against a running site."""

import json
import sys

import pytest

from gateway.message import Status
from tests.running import Gateway
from tests.support import ROOT

HOUSE = "cli-house"
POLICY = """\
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: house-users}
spec:
  effect: allow
  subjects: [{kind: user}]
  actions: [call, subscribe]
  names: ["cli-house/**"]
"""
NOBODY = """\
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: house-closed}
spec:
  effect: deny
  subjects: [{}]
  actions: [call]
  names: ["cli-house/**"]
"""
TABLE = """\
- {as: "user:house-ann", do: call, name: cli-house/door, expect: allow, because: house-users}
- {as: "device:house-lamp", name: cli-house/door, expect: deny}
- {as: "device:house-lamp", kind: user, name: cli-house/door, expect: allow}
"""


@pytest.fixture(scope="module")
def site(running_site):
    running_site.apply(POLICY)
    running_site.token_for("user:house-ann", "user")
    running_site.token_for("user:house-bob", "guest")
    return running_site


def run(site: Gateway, *arguments: str, code: int = 0, **more: str) -> str:
    done = site.cli("policy", *arguments, **more)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_explain_finds_out_of_what_kind_the_principal_is(site):
    out = run(site, "explain", "--as", "user:house-ann", "--do", "call", f"{HOUSE}/door")
    assert out.startswith("allowed: user:house-ann (user) may call")
    assert "AccessPolicy/house-users  allow" in out
    out = run(site, "explain", "--as", "user:house-bob", f"{HOUSE}/door")
    assert out.startswith("denied: user:house-bob (guest) may not call")
    out = run(site, "explain", "--as", "user:house-bob", "--kind", "user", f"{HOUSE}/door")
    assert out.startswith("allowed")


def test_explain_takes_a_stranger_for_what_its_realm_says(site):
    done = site.cli("policy", "explain", "--as", "user:stranger", f"{HOUSE}/door")
    assert done.stdout.startswith("allowed: user:stranger (user)")
    assert "no credential of user:stranger is known here" in done.stderr
    answer = json.loads(run(site, "explain", "--as", "crm:x", f"{HOUSE}/door", "-o", "json"))
    assert (answer["kind"], answer["knownBy"], answer["allowed"]) == ("service", "realm", False)


def test_attributes_come_from_the_credential_and_from_the_question(site):
    asked = {"principal": "user:house-eve", "kind": "user", "ttl": 60}
    site.ask("token/issue", {**asked, "attributes": {"rank": "Nurse", "ward": "3"}})
    out = run(
        site, "explain", "--as", "user:house-eve", "--attribute", "ward=4", HOUSE, "-o", "json"
    )
    assert json.loads(out)["attributes"] == {"rank": "Nurse", "ward": "4"}


def test_a_table_of_expected_decisions_passes(site, tmp_path):
    path = tmp_path / "expected.yaml"
    path.write_text(TABLE)
    out = run(site, "test", str(path))
    assert out.splitlines()[-1] == "3 passed, 0 failed"
    assert "pass    user:house-ann" in out


def test_a_table_fails_with_the_reason_and_an_exit_code(site, tmp_path):
    path = tmp_path / "expected.yaml"
    path.write_text(TABLE.replace("expect: deny", "expect: allow"))
    out = run(site, "test", str(path), code=Status.CONFLICT.wire.exit)
    assert "FAIL    device:house-lamp" in out
    assert "2 passed, 1 failed" in out
    out = run(site, "test", str(path), "-o", "json", code=Status.CONFLICT.wire.exit)
    assert json.loads(out)["failed"] == 1


def test_policies_are_tried_on_top_and_not_enforced(site, tmp_path):
    table, closed = tmp_path / "expected.json", tmp_path / "closed.yaml"
    row = {"as": "user:house-ann", "name": f"{HOUSE}/door", "expect": "deny"}
    table.write_text(json.dumps([{**row, "because": "AccessPolicy/house-closed"}]))
    closed.write_text(NOBODY)
    assert "1 passed" in run(site, "test", str(table), "--policies", str(closed))
    run(site, "test", str(table), code=Status.CONFLICT.wire.exit)
    assert "house-closed" not in site.cli("get", "AccessPolicy").stdout


def test_what_is_wrong_in_a_table_or_in_policies_is_told_with_its_place(site, tmp_path):
    table, closed = tmp_path / "expected.yaml", tmp_path / "closed.yaml"
    table.write_text(TABLE.replace("do: call", "do: fly"))
    code = Status.INVALID.wire.exit
    assert f"{table}:1:30: " in site.cli("policy", "test", str(table)).stderr
    run(site, "test", str(table), code=code)
    table.write_text(TABLE)
    closed.write_text(NOBODY.replace("deny", "deni"))
    done = site.cli("policy", "test", str(table), "--policies", str(closed))
    assert done.returncode == code
    assert f"{closed}:5:11: " in done.stderr


def test_a_name_that_is_none_is_told_with_its_case(site, tmp_path):
    path = tmp_path / "expected.yaml"
    path.write_text(TABLE + "- {as: 'user:a', name: 'a//b', expect: deny}\n")
    done = site.cli("policy", "test", str(path))
    assert done.returncode == Status.BAD_REQUEST.wire.exit
    assert "case 4: " in done.stderr


def test_the_schema_of_a_table_needs_no_site(site):
    schema = json.loads(run(site, "test", "--schema", HILUM_URL="http://127.0.0.1:1"))
    assert schema["title"] == "Hilum policy test"


def test_who_may_not_ask_does_not_learn(site, tmp_path):
    path = tmp_path / "expected.yaml"
    path.write_text(TABLE)
    token = site.token_for("user:house-ann", "user")
    run(site, "test", str(path), code=Status.DENIED.wire.exit, HILUM_TOKEN=token)


EXAMPLES = ROOT / "tests" / "policy" / "casbin_examples"


def files(name: str) -> list[str]:
    return ["--model", f"{EXAMPLES / name}_model.conf", "--policy", f"{EXAMPLES / name}_policy.csv"]


def test_a_model_of_casbin_is_imported_applied_and_exported_again(site, tmp_path):
    how = [*files("rbac_with_deny"), "--realm", "crm", "--under", "Shop", "--name", "shop"]
    how += ["--action", "read=call", "--action", "write=publish"]
    manifests = run(site, "import", *how)
    assert "kind: Role" in manifests
    assert "would" not in run(site, "import", *how, "--dry-run")
    out = run(site, "import", *how, "--apply")
    assert "Role          shop-data2-admin  1         created" in out
    assert "unchanged" in site.cli("apply", "-f", "-", stdin=manifests).stdout
    asked = ["explain", "--as", "crm:alice", "--do"]
    assert run(site, *asked, "call", "Shop/data2").startswith("allowed")
    assert run(site, *asked, "publish", "Shop/data2").startswith("denied")
    model, policy = tmp_path / "model.conf", tmp_path / "policy.csv"
    run(site, "export", "--model", str(model), "--policy", str(policy))
    assert "p, deny, crm:alice, *, *, publish, localhost/Shop/data2" in policy.read_text()
    assert "g, crm:alice|*, Role/shop-data2-admin" in policy.read_text()
    again = ["import", "--model", str(model), "--policy", str(policy)]
    changes = run(site, *again, "--dry-run")
    assert "= AccessPolicy/shop-1" in changes
    changed = {line for line in changes.splitlines() if line[:1] in "+-~"}
    # These speak of relative names from the first start on.
    own = ("administrators", "provisioning", "self-service")
    assert changed <= {f"~ AccessPolicy/{name}" for name in own}


def test_what_cannot_be_imported_or_exported_is_told(site, tmp_path):
    done = site.cli("policy", "import", *files("priority"))
    assert done.returncode == Status.INVALID.wire.exit
    assert "in Hilum a deny beats every allow" in done.stderr
    done = site.cli("policy", "import", *files("basic"), "--action", "read=fly")
    assert "'fly' is no action" in done.stderr
    done = site.cli("policy", "import", "--model", str(tmp_path / "none.conf"))
    assert "cannot read" in done.stderr
    done = site.cli("policy", "export", "--model", str(tmp_path / "no" / "m.conf"))
    assert "cannot write" in done.stderr


def test_without_the_extra_the_commands_say_what_to_install(site, monkeypatch):
    monkeypatch.setitem(sys.modules, "casbin", None)
    monkeypatch.delitem(sys.modules, "policy.casbin_exchange.store", raising=False)
    done = site.cli("policy", "export")
    assert done.returncode == Status.UNAVAILABLE.wire.exit
    assert "hilum[casbin]" in done.stderr


WARD = """\
apiVersion: hilum/v1
kind: Attribute
metadata: {name: ward-rank}
spec: {attribute: subject.wardRank, type: ordered, values: [Nurse, Doctor]}
---
apiVersion: hilum/v1
kind: Attribute
metadata: {name: ward-age}
spec: {attribute: subject.wardAge, type: number}
---
apiVersion: hilum/v1
kind: Role
metadata: {name: ward-staff}
spec: {subjects: [{principal: "user:ward-ann"}]}
---
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: ward}
spec:
  effect: allow
  subjects: [{role: ward-staff}]
  actions: [call]
  names: ["cli-ward/**"]
  when: subject.wardRank >= Doctor and environment.time in 08:00..18:00 and environment.threat < 3
  obligations: {log: true}
---
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: ward-strict}
spec:
  effect: deny
  subjects: [{}]
  actions: [publish]
  names: ["cli-ward/strict"]
  mode: shadow
"""
DAY, NIGHT = "2026-03-02T12:00", "2026-03-02T23:00"


def test_explain_shows_what_conditions_saw_and_what_if(site):
    site.apply(WARD)
    asked = ["explain", "--as", "user:ward-ann", "cli-ward/door", "--attribute"]
    out = run(site, *asked, "wardRank=Doctor", "--at", DAY)
    assert out.startswith("allowed")
    assert "environment.time is 12:00:00" in out
    assert "subject.wardRank is Doctor" in out
    assert run(site, *asked, "wardRank=Nurse", "--at", DAY).startswith("denied")
    out = run(site, *asked, "wardRank=Doctor", "--at", NIGHT)
    assert out.startswith("denied")
    assert "environment.time in 08:00..18:00: no (environment.time is 23:00:00)" in out
    out = run(site, *asked, "wardRank=Doctor", "--at", DAY, "--threat", "5")
    assert "environment.threat < 3: no (environment.threat is 5" in out
    answer = json.loads(run(site, *asked, "wardRank=Doctor", "--at", DAY, "-o", "json"))
    assert (answer["roles"], answer["obligations"]) == (["ward-staff"], {"log": True})
    assert answer["attributes"] == {"wardRank": "Doctor"}
    answer = json.loads(run(site, *asked, "wardAge:=17", "-o", "json"))
    assert answer["attributes"] == {"wardAge": 17.0}
    for wrong in (["wardAge:=x"], ["a=b", "--at", "noon"], ["a=b", "--at", "1066-10-14T09:00"]):
        assert site.cli("policy", *asked, *wrong).returncode != 0


def test_cases_have_their_own_time_and_threat_level(site, tmp_path):
    site.apply(WARD)
    path = tmp_path / "expected.yaml"
    row = {"as": "user:ward-ann", "name": "cli-ward/door", "attributes": {"wardRank": "Doctor"}}
    rows = [
        {**row, "at": DAY, "expect": "allow", "because": "ward"},
        {**row, "at": NIGHT, "expect": "deny"},
        {**row, "at": DAY, "threat": 4, "expect": "deny"},
        {**row, "at": 1_772_452_800, "threat": 2, "expect": "allow"},
    ]
    path.write_text(json.dumps(rows))
    assert "4 passed, 0 failed" in run(site, "test", str(path))


def test_shadow_shows_what_would_have_been_decided_differently(site):
    site.apply(WARD)
    objects = [{"name": "cli-ward", "channels": {"strict": {}}}]
    site.register({"microservice": "CliWard", "objects": objects})
    site.allow("ward-all", {"principal": "user:ward-eve"}, "publish", "cli-ward/**")
    token = site.token_for("user:ward-eve", "user")
    run_as_eve = site.cli("publish", "cli-ward/strict", "x", HILUM_TOKEN=token)
    assert run_as_eve.returncode == 0, run_as_eve.stderr
    out = run(site, "shadow", "ward-strict")
    assert "AccessPolicy/ward-strict  1" in out
    assert "user:ward-eve  publish" in " ".join(out.splitlines()[-1:])
    assert "allow" in out.splitlines()[-1]
    answer = json.loads(run(site, "shadow", "AccessPolicy/ward-strict", "-o", "json"))
    assert answer["policies"] == [{"policy": "AccessPolicy/ward-strict", "differences": 1}]
    run(site, "shadow", "ward", code=Status.NOT_FOUND.wire.exit)
