"""What somebody who has just started is told about what went wrong, over HTTP."""

import json

import pytest


def tell(site, verb, path, body=None, **fields):
    reply = site.http(verb, path, body, **fields)
    problem = reply.json()
    assert problem["status"] == reply.status
    return reply.status, problem["detail"]


def ask(site, method, document):
    return tell(site, "POST", f"/$site/{method}", json.dumps(document))


def test_the_way_in(running_site):
    assert tell(running_site, "GET", "/", token="") == (
        404,
        "nothing is at /: GET /$site/registry/list lists the names to call",
    )
    status, said = tell(running_site, "GET", "/x", token="", authorization="Basic Zm9vOmJhcg==")
    assert status == 401
    assert "no bearer token" in said
    reply = running_site.http("GET", "/$site/socket")
    assert (reply.status, reply.fields["Upgrade"]) == (426, "websocket")
    status, said = tell(running_site, "POST", "/$site/registry/register", b"")
    assert (status, said) == (422, "line 1, column 1: the document is empty; write one")


@pytest.mark.parametrize(
    ("method", "document", "said"),
    [
        ("policy/get", {"kind": "Nope"}, "'Nope' is no kind: there are AccessPolicy, Life"),
        ("policy/delete", {}, "'' is no kind"),
        ("token/revoke", {}, "say which token"),
        ("policy/explain", {"principal": "ann", "action": "call", "name": "x"}, "write realm:s"),
    ],
)
def test_half_a_question(running_site, method, document, said):
    status, detail = ask(running_site, method, document)
    assert status == 422
    assert said in detail


@pytest.mark.parametrize(
    "endpoint", ["http://169.254.169.254/latest/meta-data", "http://[fe80::1]/", "{control}/"]
)
@pytest.mark.parametrize("method", ["policy/apply", "policy/preview"])
def test_an_operator_cannot_bind_metadata_or_the_site_itself(running_site, method, endpoint):
    binding = {
        "apiVersion": "hilum/v1",
        "kind": "Binding",
        "metadata": {"name": "bad"},
        "spec": {
            "name": "newcomer/m",
            "endpoint": endpoint.format(control=running_site.control),
        },
    }
    status, detail = ask(running_site, method, binding)
    assert status == 403
    assert "Binding bad: " in detail
    assert "cannot be bound" in detail
