"""Checks of what access decisions are made of: subjects, conditions, roles, attributes, duties."""

import re
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from policy.conditions.condition import InvalidCondition, parse
from policy.conditions.kinds import BUILT_IN, fits
from policy.identity.tokens import is_kind, is_principal
from policy.model import (
    NONE,
    AccessPolicy,
    Assertion,
    Attribute,
    Obligations,
    Role,
    Subject,
)
from policy.spec import Spec
from registry.checks import header_trouble
from registry.documents import Path
from registry.terms import expand

_ROLE = re.compile(r"[A-Za-z0-9._~:=@-]{1,128}")
_ATTRIBUTE = re.compile(r"(?:subject|object|environment)\.[A-Za-z_][A-Za-z0-9_]{0,63}")
_POINTER = re.compile(r"(?:/(?:[^/~\x00-\x1f]|~[01])*){1,32}")
_FIELD = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?")


def check_subjects(spec: Spec, subjects: Sequence[Subject]) -> None:
    """Check whom a policy speaks of."""
    for index, subject in enumerate(subjects):
        _subject(spec, ("subjects", index), subject)


def check_role(spec: Spec, policy: Role) -> None:
    """Check a role's members and the roles that it inherits."""
    check_subjects(spec, policy.subjects)
    for index, subject in enumerate(policy.subjects):
        if subject.role:
            hint = f"let the role {subject.role} inherit this one"
            spec.add(("subjects", index, "role"), "a role has no roles as members", hint)
    for index, name in enumerate(policy.inherits):
        _role_name(spec, ("inherits", index), name)


def check_attribute(spec: Spec, policy: Attribute) -> None:
    """Check the declaration of an attribute."""
    if not _ATTRIBUTE.fullmatch(policy.attribute):
        hint = "write subject., object. or environment. and letters, digits and _"
        spec.add(("attribute",), f"{policy.attribute[:80]!r} is no name of an attribute", hint)
    if policy.attribute in BUILT_IN:
        spec.add(("attribute",), f"{policy.attribute} is built in", "give it another name")
    if (policy.type == "ordered") != bool(policy.values):
        hint = "give type: ordered and values, the lowest first"
        spec.add((), "values and the type ordered belong together", hint)
    if len(set(policy.values)) < len(policy.values):
        spec.add(("values",), "a value is there twice", "keep one of the two", key=True)


def check_stated(spec: Spec, whose: str, attributes: Mapping[str, object]) -> None:
    """Check what is stated of objects or of the environment, as far as it is declared."""
    for key, value in attributes.items():
        path, name = ("attributes", key), f"{whose}.{key}"
        type_ = spec.schema.types.get(name)
        if not _ATTRIBUTE.fullmatch(name):
            spec.add(path, "this is no name of an attribute", "use letters, digits and _", key=True)
        elif name in BUILT_IN:
            spec.add(path, f"{name} is known already", "use another name", key=True)
        elif type_ is not None and not fits(type_, value):
            hint = "change the value, or the policy Attribute that declares it"
            spec.add(path, f"{name} must be {type_}", hint)


def check_assertion(spec: Spec, policy: Assertion) -> Assertion:
    """Check who may say what of his names; return it with IRIs in full."""
    check_subjects(spec, policy.subjects)
    return replace(
        policy,
        names=spec.names(policy.names),
        values=_terms(spec, "values", policy.values),
        under=_terms(spec, "under", policy.under),
    )


def _terms(spec: Spec, key: str, terms: Sequence[str]) -> tuple[str, ...]:
    found = []
    for index, term in enumerate(terms):
        try:
            found.append(expand(term))
        except ValueError as error:
            hint = "write an IRI, or a known prefix as in brick:VAV"
            spec.add((key, index), str(error), hint)
    return tuple(found)


def check_condition(spec: Spec, text: str) -> None:
    """Check that a condition can be read."""
    if text:
        try:
            parse(text, spec.schema)
        except InvalidCondition as error:
            path = (*spec.path, "when")
            spec.findings.inside(path, text, error.offset, error.message, error.hint)


def check_obligations(spec: Spec, policy: AccessPolicy) -> None:
    """Check what an allow obliges to."""
    path, duties = ("obligations",), policy.obligations
    if policy.effect == "deny" and duties != NONE:
        spec.add(path, "a deny obliges to nothing", "remove it", key=True)
    for index, pointer in enumerate(duties.mask):
        if not _POINTER.fullmatch(pointer):
            hint = "write a JSON Pointer such as /patient/name (RFC 6901); * is every element"
            spec.add((*path, "mask", index), f"{pointer[:80]!r} is no JSON Pointer", hint)
    for name, value in duties.headers.items():
        if trouble := header_trouble(name):
            spec.add((*path, "headers", name), *trouble, key=True)
        if not _FIELD.fullmatch(value):
            hint = "use at most 512 printable ASCII characters"
            spec.add((*path, "headers", name), "this is no value of a header", hint)


def are_sound(duties: Obligations) -> bool:
    """Whether obligations that are in no manifest would be right in one."""
    if not all(map(_POINTER.fullmatch, duties.mask)):
        return False
    headers = duties.headers.items()
    return not any(header_trouble(name) or not _FIELD.fullmatch(value) for name, value in headers)


def _role_name(spec: Spec, path: Path, name: str) -> None:
    if not _ROLE.fullmatch(name):
        hint = "use letters, digits and . _ ~ : = @ -"
        spec.add(path, f"{name[:80]!r} is no name of a role", hint)


def _subject(spec: Spec, path: Path, subject: Subject) -> None:
    if subject.role:
        _role_name(spec, (*path, "role"), subject.role)
    principal, kind = subject.principal, subject.kind
    if principal != "*" and not is_principal(principal):
        hint = "write realm:subject, such as user:ann, or '*' alone for anybody"
        spec.add((*path, "principal"), f"{principal!r} is no principal", hint)
    if kind != "*" and not is_kind(kind):
        hint = "use lower-case letters, digits and hyphens, or '*' alone for any kind"
        spec.add((*path, "kind"), f"{kind!r} is no kind of principals", hint)
