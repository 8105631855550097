"""120 descriptions of real plugfests, drafts of several years: taken, or refused with reasons."""

import json

import pytest

from registry.things import addresses
from registry.things.document import Thing, read
from registry.things.expansion import expand
from registry.things.mapping import object_of
from registry.things.problems import InvalidThing
from registry.things.validation import shape_problems
from registry.things.view import view_of
from tests.registry.things.examples import BASES, ID, record_of
from tests.support import shared_data

# What is wrong with the drafts among them, and nothing else is.
KNOWN = (
    "the member 'forms' is missing",
    "it is a Thing Model, which describes no thing",
    "the member 'security' is missing",
    "the member 'securityDefinitions' is missing",
    "the member 'instance' is missing",
    "it must have characters, at least 1",
    "it must be of the type object",
    "the variable 'subscriptionID' is not described",
    "two parts of the pattern could read the character 'h'",
    "is relative, and there is no base",
    "is there twice",
)


def texts() -> list[bytes]:
    found = [path.read_bytes() for path in sorted((shared_data() / "td").glob("*.td.json"))]
    assert len(found) == 120
    return found


def accepted() -> list[Thing]:
    things = []
    for text in texts():
        try:
            things.append(read(text, unknown_contexts=True))
        except InvalidThing:
            continue
    return things


def test_each_is_taken_or_refused_with_every_error():
    taken = 0
    for text in texts():
        try:
            read(text, unknown_contexts=True)
        except InvalidThing as error:
            for problem in error.problems:
                assert any(known in problem.message for known in KNOWN), problem
                assert not problem.pointer or exists(json.loads(text), problem.pointer)
        else:
            taken += 1
    assert taken == 70


def exists(document: object, pointer: str) -> bool:
    for step in pointer.split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return True


def test_nothing_but_known_contexts_is_taken_unless_the_site_says_so():
    unknown = "the context https://webthings.io/schemas is not known: its terms are kept"
    of_others = [one for one in accepted() if unknown in one.warnings]
    assert len(of_others) == 9
    for one in of_others:
        with pytest.raises(InvalidThing, match="is not known here"):
            read(one.text.encode())


def test_views_are_valid_and_hide_where_the_things_are():
    for one in accepted():
        id_ = one.id or ID
        made = object_of(one, "localhost", id_=id_)
        record = record_of(one, made, id_)
        view = view_of(made.name, made.object, record, BASES)
        assert shape_problems(view) == []
        assert shape_problems(view_of(made.name, made.object, None, BASES)) == []
        shown = json.dumps({key: view[key] for key in view if key not in ("id", "@context")})
        for host in hosts(one):
            assert host not in shown.replace(made.name.partition("/")[2], "")
        for subject, predicate, _ in expand(one.text, made.object, id_):
            assert subject.startswith(("<", "_:"))
            assert predicate.startswith("<")


def hosts(one: Thing) -> set[str]:
    base = one.data.get("base", "")
    found = {addresses.host_of(base)}
    for kind in ("properties", "actions", "events"):
        for affordance in one.data.get(kind, {}).values():
            for form in affordance["forms"]:
                found.add(addresses.host_of(addresses.resolve(base, form["href"]) or ""))
    return {host for host in found if "." in host}
