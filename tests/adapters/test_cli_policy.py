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
    monkeypatch.delitem(sys.modules, "policy.casbin_store", raising=False)
    done = site.cli("policy", "export")
    assert done.returncode == Status.UNAVAILABLE.wire.exit
    assert "hilum[casbin]" in done.stderr
