"""Conditions on a running site: applied, checked, and followed by what is open."""

import asyncio
import json
from itertools import count

import pytest
import pytest_asyncio

from tests.adapters.live import live_site
from tests.adapters.test_first_use import Place

pytestmark = pytest.mark.asyncio(loop_scope="module")
_objects = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    async with live_site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def site(shared):
    mine = Place(shared.application, shared.state, f"Cond{next(_objects)}")
    await mine.begin()
    yield mine
    await mine.end()


async def send(site, method, document):
    body = json.dumps(document).encode()
    kind = "Content-Type: application/json"
    return await site.ask("POST", f"/$site/policy/{method}", body, kind)


def manifest(site, kind, name, **spec):
    name = f"{site.object}-{name}".lower()
    return {"apiVersion": "hilum/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


async def test_an_open_stream_ends_when_the_environment_or_a_role_changes(site):
    names = f"{site.object}/**"
    role = f"nurse{site.object}"
    rule = {
        "effect": "allow",
        "subjects": [{"role": role.lower()}],
        "actions": ["subscribe"],
        "names": [names],
        "when": "environment.threat < 3",
    }
    await site.apply("AccessPolicy", "listen", rule)
    member = manifest(site, "Role", "x", subjects=[{"principal": site.who}])
    member["metadata"]["name"] = role.lower()
    assert (await send(site, "apply", member)).status == 200
    for step in ("threat", "role"):
        reader, writer = await site.connect()
        lines = "Accept: text/event-stream"
        writer.write(site.head("GET", site.path("steps"), lines, token=site.ann).encode() + b"\r\n")
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        if step == "threat":
            await site.apply("Environment", "threat", {"threat": 5})
        else:
            await site.apply("AccessPolicy", "listen", {**rule, "subjects": [{"role": "other"}]})
        await asyncio.wait_for(reader.readuntil(b"event: end"), 5)
        answer = await site.ask("GET", site.path("steps"), b"", lines, token=site.ann)
        assert answer.status == 403
        if step == "threat":
            await site.apply("Environment", "threat", {"threat": 0})
    which = {"kind": "Role", "name": role.lower()}
    assert (await send(site, "delete", which)).status == 200


async def test_what_conditions_and_rules_use_is_not_deleted(site):
    number = site.object.removeprefix("Cond")
    attribute = {
        "attribute": f"subject.rank{number}",
        "type": "ordered",
        "values": ["Nurse", "Doctor"],
    }
    rule = {
        "effect": "allow",
        "subjects": [{"role": f"role{number}"}],
        "actions": ["call"],
        "names": [f"{site.object}/**"],
        "when": f"subject.rank{number} >= Doctor",
    }
    documents = [
        manifest(site, "AccessPolicy", "rule", **rule),
        manifest(site, "Attribute", "rank", **attribute),
        manifest(site, "Role", "role", description="x"),
    ]
    documents[2]["metadata"]["name"] = f"role{number}"
    assert (await send(site, "apply", documents)).status == 200
    uses = [{"kind": d["kind"], "name": d["metadata"]["name"]} for d in documents]
    for which, why in ((uses[1], b"could not be read any more"), (uses[2], b"uses the role")):
        answer = await send(site, "delete", which)
        assert answer.status == 409
        assert why in answer.body
    narrower = {**attribute, "values": ["Nurse"]}
    answer = await send(site, "apply", manifest(site, "Attribute", "rank", **narrower))
    assert answer.status == 409
    for which in uses:
        assert (await send(site, "delete", which)).status == 200


async def test_a_wrong_condition_is_refused_with_its_place(site):
    text = (
        "apiVersion: hilum/v1\nkind: AccessPolicy\nmetadata: {name: wrong}\nspec:\n"
        '  effect: allow\n  subjects: [{}]\n  actions: [call]\n  names: ["**"]\n'
        "  when: subject.rol contains 'x'\n"
    )
    kind = "Content-Type: application/yaml"
    answer = await site.ask("POST", "/$site/policy/apply", text.encode(), kind)
    assert answer.status == 422
    assert b"did you mean subject.roles?" in answer.body
    assert b"line 9, column 9" in answer.body


async def test_a_circle_of_roles_is_refused(site):
    roles = [
        manifest(site, "Role", one, inherits=[f"{site.object}-{two}".lower()])
        for one, two in (("a", "b"), ("b", "a"))
    ]
    answer = await send(site, "apply", roles)
    assert answer.status == 409
    assert b"roles inherit in a circle" in answer.body
    assert b"error:" not in answer.body  # whoever shows it says so
