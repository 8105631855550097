"""Who administers some names cannot come to more: not by policies, nor by credentials."""

import json

import pytest

from tests.running import Gateway

ROOM = ["room-e/**"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site where ``user:clerk`` administers the room and the methods that make credentials."""
    with Gateway(tmp_path_factory.mktemp("escalation")) as running:
        clerk = {"principal": "user:clerk"}
        running.allow("clerk-calls", clerk, "call", "$site/**")
        running.allow("clerk", clerk, "administer", "room-e/** $site/token/** $site/identity/**")
        running.clerk = running.token_for("user:clerk", "user")
        yield running


def policy(kind: str, called: str, **spec: object) -> bytes:
    document = {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": called}, "spec": spec}
    return json.dumps(document).encode()


def rule(name: str, effect: str, names: list[str]) -> bytes:
    subjects = [{"kind": "user"}]
    actions = ["call"]
    return policy(
        "AccessPolicy", name, effect=effect, subjects=subjects, actions=actions, names=names
    )


def apply(site: Gateway, document: bytes) -> int:
    return site.http("POST", "/$site/policy/apply", document, token=site.clerk).status


def test_policies_about_one_s_own_names_are_applied(site):
    assert apply(site, rule("own", "allow", ROOM)) == 200


@pytest.mark.parametrize(
    "document",
    [
        rule("more", "allow", ["**"]),
        rule("more", "allow", ["*/x"]),
        rule("more", "allow", ["$site/policy/apply"]),
        rule("more", "allow", ["room-e/**", "other/x"]),
        policy("Role", "chief", subjects=[{"principal": "user:clerk"}]),
        policy("Attribute", "rank", attribute="subject.rank", type="number"),
        policy("Environment", "calm", threat=0),
        policy("ObjectAttributes", "all", names=["**"], attributes={"level": "low"}),
        policy("QualityPolicy", "free", names=["**"], messages={"rate": 1, "burst": 1}),
        policy("FirstUsePolicy", "mine", names=ROOM, actions=["call"], call="other/decide"),
        policy("Binding", "mine", name="room-e/x", call="other/x"),
        policy("Binding", "mine", name="other/x", endpoint="http://127.0.0.1:9/"),
        policy("Binding", "mine", name="room-e/x", endpoint="http://127.0.0.1:9/"),
        policy("Binding", "mine", name="room-e/x", source="mqtt://127.0.0.1:9/topic"),
    ],
)
def test_policies_that_reach_further_are_refused(site, document):
    assert apply(site, document) == 403


def test_who_may_bind_to_an_endpoint_does_so_by_policy_too(site):
    """The site calls what is bound, from inside its network: administering a name is not enough."""
    bound = policy("Binding", "bound", name="room-e/x", endpoint="http://127.0.0.1:9/in/x")
    assert apply(site, bound) == 403
    spec = {
        "effect": "allow",
        "subjects": [{"principal": "user:clerk"}],
        "actions": ["bind"],
        "names": ROOM,
        "endpoints": ["http://127.0.0.1:9/in/"],
    }
    site.apply(policy("LifecyclePolicy", "clerk-binds", **spec).decode())
    assert apply(site, bound) == 200


def test_a_policy_about_more_is_not_replaced_by_one_about_less(site):
    """Else whoever administers one name could lift a deny of all by giving his policy its name."""
    site.apply(rule("lockdown", "deny", ["secret-e/**"]).decode())
    assert apply(site, rule("lockdown", "deny", ROOM)) == 403
    (kept,) = site.ask("policy/get", {"kind": "AccessPolicy", "name": "lockdown"})["items"]
    assert kept["spec"]["names"] == ["localhost/secret-e/**"]
    asked = json.dumps({"kind": "AccessPolicy", "name": "lockdown"})
    refused = site.http("POST", "/$site/policy/delete", asked, token=site.clerk)
    assert refused.status == 403


CREDENTIALS = {
    "token/issue": {"principal": "user:clerk", "kind": "administrator"},
    "identity/add": {"principal": "device:x", "kind": "administrator"},
    "identity/certify": {"principal": "device:x", "kind": "administrator", "request": "x"},
    "identity/secret": {"principal": "device:x", "kind": "administrator"},
    "identity/password": {"user": "x", "password": "correct horse 1", "kind": "administrator"},
}


@pytest.mark.parametrize("method", CREDENTIALS)
def test_only_administrators_make_administrators(site, method):
    reply = site.http("POST", f"/$site/{method}", json.dumps(CREDENTIALS[method]), token=site.clerk)
    assert reply.status == 403, reply.body
    assert "administrator" in reply.json()["detail"]


def test_a_claim_token_is_not_made_by_hand(site):
    promise = json.dumps({"principal": "device:x", "kind": "administrator", "attributes": {}})
    asked = {
        "principal": "newcomer:device:x",
        "kind": "newcomer",
        "attributes": {"claims": promise},
    }
    for token in (site.clerk, site.token):
        reply = site.http("POST", "/$site/token/issue", json.dumps(asked), token=token)
        assert reply.status in (403, 422), reply.body


def test_a_note_ends_no_other_credential(site):
    """Notes of the site itself say which credentials end when; it reads them when it starts."""
    asked = json.dumps({"principal": "device:x", "note": "replaces secret-0123 until 1"})
    reply = site.http("POST", "/$site/identity/secret", asked, token=site.clerk)
    assert reply.status == 422, reply.body


def test_who_may_issue_tokens_issues_others(site):
    asked = json.dumps({"principal": "service:x"})
    assert site.http("POST", "/$site/token/issue", asked, token=site.clerk).status == 200
