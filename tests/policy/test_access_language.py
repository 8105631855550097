"""Manifests of what access decisions are made of: what is refused, where, and what conflicts."""

from textwrap import dedent, indent

import pytest

from policy.conflicts import conflicts, uses
from policy.language import ManifestDoc, parse_manifests
from policy.model import AccessPolicy, Action, Attribute, Policy, Role, Subject
from registry.documents import InvalidDocument

RANK = Attribute("subject.rank", "ordered", ("Nurse", "Doctor"))


def manifest(kind: str, spec: str, name: str = "p") -> str:
    body = indent(dedent(spec).strip("\n"), "  ")
    return f"apiVersion: hilum/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{body}\n"


def rule(when: str, more: str = "") -> str:
    return manifest(
        "AccessPolicy",
        f'effect: allow\nsubjects: [{{}}]\nactions: [call]\nnames: ["**"]\n{more}\nwhen: {when}\n',
    )


def parse(*texts: str, media_type: str = "application/yaml") -> list[ManifestDoc]:
    data = "---\n".join(texts).encode()
    return parse_manifests(data, media_type, "snac.asu.edu", declared={"rank": RANK})


def problems(*texts: str, media_type: str = "application/yaml") -> list[str]:
    with pytest.raises(InvalidDocument) as caught:
        parse(*texts, media_type=media_type)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("when", "where"),
    [
        ("subject.rnk > Nurse", "line 10, column 9"),
        ("true and subject.rnk > Nurse", "line 10, column 18"),
        ("'true and subject.rnk > Nurse'", "line 10, column 19"),
        ('"true and subject.rnk > Nurse"', "line 10, column 19"),
        ("|\n  true and\n  subject.rnk > Nurse", "line 12, column 5"),
        ("|-\n  subject.rank > Nurse or\n  not subject.rnk > Nurse", "line 12, column 9"),
        (">\n  true and\n  subject.rnk > Nurse", "line 11, column 9"),
    ],
)
def test_a_wrong_condition_is_shown_in_its_place(when: str, where: str) -> None:
    (problem,) = problems(rule(when))
    assert problem.startswith(f"{where} (spec.when): there is no attribute subject.rnk")
    assert problem.endswith("did you mean subject.rank?")


def test_a_wrong_condition_in_json_is_shown_in_its_place() -> None:
    text = (
        '{"apiVersion":"hilum/v1","kind":"AccessPolicy","metadata":{"name":"p"},"spec":\n'
        '{"effect":"allow","subjects":[{}],"actions":["call"],"names":["**"],\n'
        '"when": "\\"a\\" == \\"a\\" and x"}}'
    )
    (problem,) = problems(text, media_type="application/json")
    assert problem.startswith("line 3, column 29 (spec.when): x means nothing by itself")


def test_conditions_may_use_attributes_declared_in_the_same_file() -> None:
    declared = manifest("Attribute", "attribute: object.wing\ntype: path", "place")
    used = rule("object.wing within 'a' and subject.rank > Nurse")
    assert len(parse(used, declared)) == 2
    assert len(parse(used.replace("within", "=="), declared)) == 2
    assert "no attribute object.wing" in problems(used)[0]
    again = manifest("Attribute", "attribute: subject.rank", "rank")
    assert (
        "subject.rank is a string: it has no order"
        in problems(rule("subject.rank > 'a'"), again)[0]
    )


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("Attribute", "attribute: rank", "'rank' is no name of an attribute"),
        ("Attribute", "attribute: subject.a-b", "is no name of an attribute"),
        ("Attribute", "attribute: subject.id", "subject.id is built in"),
        ("Attribute", "{attribute: subject.x, type: ordered}", "belong together"),
        ("Attribute", "{attribute: subject.x, values: [a]}", "belong together"),
        ("Attribute", "{attribute: subject.x, type: ordered, values: [a, a]}", "there twice"),
        ("Role", "inherits: ['a b']", "'a b' is no name of a role"),
        ("Role", "subjects: [{role: x}]", "a role has no roles as members"),
        ("Role", "subjects: [{principal: ann}]", "'ann' is no principal"),
        ("QualityPolicy", "{names: [a], subjects: [{role: '?'}]}", "is no name of a role"),
        ("ObjectAttributes", "{names: [a], attributes: {a-b: x}}", "no name of an attribute"),
        ("ObjectAttributes", "{names: [a], attributes: {kind: x}}", "object.kind is known already"),
        ("Environment", "attributes: {time: x}", "environment.time is known already"),
    ],
)
def test_what_cannot_be_is_refused(kind: str, spec: str, message: str) -> None:
    assert any(message in problem for problem in problems(manifest(kind, spec)))


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("string", "x", "3"),
        ("number", "3", "x"),
        ("number", "3.5", "true"),
        ("boolean", "true", "x"),
        ("set", "[a]", "x"),
        ("path", "a/b", "[a]"),
        ("ordered, values: [a, b]", "b", "c"),
    ],
)
def test_what_is_stated_fits_its_declaration(type_: str, good: str, bad: str) -> None:
    for kind, whose, more in (
        ("ObjectAttributes", "object", "names: [a], "),
        ("Environment", "environment", ""),
    ):
        declared = manifest("Attribute", f"{{attribute: {whose}.x, type: {type_}}}", "x")
        stated = "{{{}attributes: {{x: {}, y: 1}}}}"
        assert parse(declared, manifest(kind, stated.format(more, good)))
        assert (
            f"{whose}.x must be" in problems(declared, manifest(kind, stated.format(more, bad)))[0]
        )


@pytest.mark.parametrize(
    ("duties", "message"),
    [
        ("{mask: [name]}", "'name' is no JSON Pointer"),
        ("{mask: ['/a~2']}", "is no JSON Pointer"),
        ("{headers: {'a b': x}}", "'a b' is no name of a header"),
        ("{headers: {Host: x}}", "the header Host is the gateway's own"),
        ("{headers: {Hilum-Principal: x}}", "is the gateway's own"),
        ('{headers: {X: "a\\r\\nB: c"}}', "this is no value of a header"),
        ("{headers: {X: ''}}", "this is no value of a header"),
    ],
)
def test_obligations_are_checked(duties: str, message: str) -> None:
    assert message in problems(rule("'true'", f"obligations: {duties}"))[0]


def test_only_an_allow_obliges() -> None:
    text = rule("'true'", "obligations: {log: true, mask: [/a/~0~1/*, '']}")
    assert "'' is no JSON Pointer" in problems(text)[0]
    text = text.replace(", ''", "")
    assert parse(text)
    assert "a deny obliges to nothing" in problems(text.replace("allow", "deny"))[0]


# --- conflicts -------------------------------------------------------------------------------


def access(
    when: str = "", role: str = "", effect: str = "allow", mode: str = "enforce"
) -> AccessPolicy:
    assert effect in ("allow", "deny")
    return AccessPolicy(
        "allow" if effect == "allow" else "deny",
        (Subject(role=role),),
        (Action.CALL,),
        ("s/**",),
        (),
        when,
        "shadow" if mode == "shadow" else "enforce",
    )


def told(table: dict[tuple[str, str], Policy], *changed: tuple[str, str]) -> list[str]:
    return [str(conflict) for conflict in conflicts(table, changed or None)]


def test_a_circle_of_roles_is_named() -> None:
    table: dict[tuple[str, str], Policy] = {
        ("Role", "a"): Role((), ("b",)),
        ("Role", "b"): Role((), ("c",)),
        ("Role", "c"): Role((Subject("u:a"),), ("a",)),
        ("Role", "d"): Role((Subject("u:d"),), ("a",)),
    }
    assert told(table) == ["error: roles inherit in a circle, a -> b -> c -> a: leave one step out"]
    assert told(table, ("Role", "d")) == []


def test_an_attribute_is_declared_once_and_conditions_must_fit_it() -> None:
    table: dict[tuple[str, str], Policy] = {
        ("Attribute", "one"): Attribute("subject.rank"),
        ("Attribute", "two"): Attribute("subject.rank", description="x", type="number"),
        ("AccessPolicy", "p"): access("subject.rank == 'a'"),
    }
    found = told(table, ("Attribute", "two"))
    assert found[0] == "error: Attribute/one and Attribute/two declare subject.rank: keep one"
    assert "error: AccessPolicy/p could not be read any more: 'a' is a string" in found[1]
    del table["Attribute", "two"]
    assert told(table) == []
    assert told(table, ("AccessPolicy", "p")) == []


def test_what_is_in_use_is_not_deleted() -> None:
    table: dict[tuple[str, str], Policy] = {
        ("Attribute", "rank"): RANK,
        ("Role", "nurse"): Role(),
        ("Role", "doctor"): Role((), ("nurse",)),
        ("AccessPolicy", "p"): access("subject.rank > Nurse", "doctor"),
    }
    assert [c.message for c in uses(table, [("Role", "nurse")])] == [
        "Role/doctor uses the role nurse: change that first"
    ]
    assert [c.message for c in uses(table, [("Role", "doctor")])] == [
        "AccessPolicy/p uses the role doctor: change that first"
    ]
    assert uses(table, [("Role", "doctor"), ("AccessPolicy", "p")]) == []
    (conflict,) = uses(table, [("Attribute", "rank")])
    assert "AccessPolicy/p could not be read any more: there is no attribute" in conflict.message
    assert uses(table, [("Attribute", "rank"), ("AccessPolicy", "p")]) == []


def test_only_a_deny_that_is_certain_overrides_an_allow() -> None:
    def found(allow: AccessPolicy, deny: AccessPolicy) -> bool:
        table: dict[tuple[str, str], Policy] = {
            ("AccessPolicy", "a"): allow,
            ("AccessPolicy", "d"): deny,
        }
        return any("never allows anything" in text for text in told(table))

    assert found(access(), access(effect="deny"))
    assert found(access("true", "nurse"), access(effect="deny"))
    assert not found(access(), access("true", effect="deny"))
    assert not found(access(), access(effect="deny", mode="shadow"))
    assert found(access(mode="shadow"), access(effect="deny", mode="shadow"))
    assert not found(access(), access(role="nurse", effect="deny"))
    assert found(access(role="nurse"), access(role="nurse", effect="deny"))
