"""Policy manifests as operators write them (design 7): YAML or JSON to typed values and back.

Every error says line, column and what to do. Names in the values are canonical.
"""

import re
from collections.abc import Container, Mapping
from inspect import cleandoc
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from policy.checks import check
from policy.conditions.kinds import Schema
from policy.model import (
    KINDS,
    AccessPolicy,
    Assertion,
    Attribute,
    Binding,
    Environment,
    FirstUsePolicy,
    LifecyclePolicy,
    ObjectAttributes,
    Policy,
    QualityPolicy,
    ResolutionPolicy,
    Role,
    TopicSpace,
)
from policy.spec import Spec
from registry.checks import MAX_PROBLEMS, Findings, Scope
from registry.documents import Document, InvalidDocument, Path, Problem, read
from registry.model import PolicyRecord

API_VERSION: Final = "hilum/v1"
MAX_MANIFESTS: Final = 256
MAX_NAME: Final = 253
MAX_LABELS: Final = 64
SCHEMA_ID: Final = "urn:hilum:schema:policy:v1"

_NAME_PATTERN = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_NAME = re.compile(_NAME_PATTERN)
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?")
_MAX_LABEL_VALUE = 253

ApiVersion: TypeAlias = Literal["hilum/v1"]
PolicyName: TypeAlias = Annotated[
    str, Meta(extra_json_schema={"pattern": f"^{_NAME_PATTERN}$", "maxLength": MAX_NAME})
]


class Metadata(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which policy it is. A ``revision`` says which one is replaced; 0 says nothing.

    It holds for ``ttl`` seconds from now on, or until ``expires`` (Unix seconds); 0: for ever.
    """

    name: PolicyName
    labels: dict[str, str] = {}
    revision: Annotated[int, Meta(ge=0)] = 0
    ttl: Annotated[int, Meta(ge=0, le=10 * 366 * 86_400)] = 0
    expires: Annotated[int, Meta(ge=0, le=1 << 40)] = 0


class _Manifest(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    apiVersion: ApiVersion  # noqa: N815 - the name that Kubernetes made customary
    metadata: Metadata


class AccessPolicyManifest(_Manifest, frozen=True, tag="AccessPolicy"):
    """A manifest of kind `AccessPolicy`."""

    spec: AccessPolicy


class LifecyclePolicyManifest(_Manifest, frozen=True, tag="LifecyclePolicy"):
    """A manifest of kind `LifecyclePolicy`."""

    spec: LifecyclePolicy


class BindingManifest(_Manifest, frozen=True, tag="Binding"):
    """A manifest of kind `Binding`."""

    spec: Binding


class ResolutionPolicyManifest(_Manifest, frozen=True, tag="ResolutionPolicy"):
    """A manifest of kind `ResolutionPolicy`."""

    spec: ResolutionPolicy


class TopicSpaceManifest(_Manifest, frozen=True, tag="TopicSpace"):
    """A manifest of kind `TopicSpace`."""

    spec: TopicSpace


class RoleManifest(_Manifest, frozen=True, tag="Role"):
    """A manifest of kind `Role`."""

    spec: Role


class AttributeManifest(_Manifest, frozen=True, tag="Attribute"):
    """A manifest of kind `Attribute`."""

    spec: Attribute


class ObjectAttributesManifest(_Manifest, frozen=True, tag="ObjectAttributes"):
    """A manifest of kind `ObjectAttributes`."""

    spec: ObjectAttributes


class AssertionManifest(_Manifest, frozen=True, tag="Assertion"):
    """A manifest of kind `Assertion`."""

    spec: Assertion


class EnvironmentManifest(_Manifest, frozen=True, tag="Environment"):
    """A manifest of kind `Environment`."""

    spec: Environment


class FirstUsePolicyManifest(_Manifest, frozen=True, tag="FirstUsePolicy"):
    """A manifest of kind `FirstUsePolicy`."""

    spec: FirstUsePolicy


class QualityPolicyManifest(_Manifest, frozen=True, tag="QualityPolicy"):
    """A manifest of kind `QualityPolicy`."""

    spec: QualityPolicy


Manifest: TypeAlias = (
    AccessPolicyManifest
    | LifecyclePolicyManifest
    | RoleManifest
    | AttributeManifest
    | ObjectAttributesManifest
    | AssertionManifest
    | EnvironmentManifest
    | FirstUsePolicyManifest
    | BindingManifest
    | ResolutionPolicyManifest
    | QualityPolicyManifest
    | TopicSpaceManifest
)
_ONE: Any = Manifest  # As values: a union is no type[T] to the type checker.
_MANY: Any = list[Manifest]


class ManifestDoc(NamedTuple):
    """One manifest: ``revision`` is the one it replaces, 0 when it does not say.

    ``ttl`` (seconds) and ``expires`` (Unix seconds) as in ``Metadata``.
    """

    kind: str
    name: str
    labels: dict[str, str]
    revision: int
    spec: Policy
    ttl: int = 0
    expires: int = 0


def parse_manifests(
    data: bytes,
    media_type: str,
    authority: str,
    aliases: Container[str] = (),
    remotes: Container[str] = (),
    declared: Mapping[str, Attribute] = {},
) -> list[ManifestDoc]:
    """Read manifests: YAML documents or JSON, each one manifest or a list of them.

    ``declared`` are the attributes in force by policy name; those in ``data`` count, too.
    Raises InvalidDocument with up to 20 problems.
    """
    reading = _Reading(Scope(authority, aliases, remotes), declared)
    for document in read(data, media_type=media_type):
        reading.document(document)
    reading.check()
    if reading.problems:
        raise InvalidDocument(*reading.problems[:MAX_PROBLEMS])
    if not reading.manifests:
        raise InvalidDocument(Problem("there is no manifest in the document", "", 1, 1))
    return reading.manifests


class _Reading:
    """What was read so far of one input."""

    def __init__(self, scope: Scope, declared: Mapping[str, Attribute]) -> None:
        self.manifests: list[ManifestDoc] = []
        self.problems: list[Problem] = []
        self._scope = scope
        self._declared = dict(declared)
        self._schema = Schema()
        self._found: list[tuple[Findings, list[tuple[Path, Manifest]]]] = []
        self._seen: set[tuple[str, str]] = set()

    def document(self, document: Document) -> None:
        """Read one document, which may hold a list."""
        try:
            if document.text.lstrip().startswith("["):
                found: list[Manifest] = document.decode(_MANY)
                placed: list[tuple[Path, Manifest]] = [((i,), m) for i, m in enumerate(found)]
            else:
                placed = [((), document.decode(_ONE))]
        except InvalidDocument as error:
            self.problems += error.problems
            return
        self._found.append((Findings(document, self._scope), placed))
        for _, manifest in placed:
            if isinstance(manifest, AttributeManifest):
                self._declared[manifest.metadata.name] = manifest.spec

    def check(self) -> None:
        """Check what was read, by all the attributes that are declared."""
        self._schema = Schema(self._declared.values())
        for findings, placed in self._found:
            for path, manifest in placed:
                self._manifest(findings, path, manifest)
            self.problems += findings.problems

    def _manifest(self, findings: Findings, path: Path, manifest: Manifest) -> None:
        kind, metadata = type(manifest.spec).__name__, manifest.metadata
        _check_metadata(findings, (*path, "metadata"), metadata)
        if (kind, metadata.name) in self._seen:
            hint = "give each policy of a kind its own name"
            findings.add((*path, "metadata", "name"), f"a second {kind}/{metadata.name}", hint)
        self._seen.add((kind, metadata.name))
        if len(self._seen) > MAX_MANIFESTS:
            findings.add(path, f"more than {MAX_MANIFESTS} manifests", "apply them in parts")
            return
        spec = check(Spec(findings, (*path, "spec"), self._schema), manifest.spec)
        self.manifests.append(
            ManifestDoc(
                kind,
                metadata.name,
                metadata.labels,
                metadata.revision,
                spec,
                metadata.ttl,
                metadata.expires,
            )
        )


def _check_metadata(findings: Findings, path: Path, metadata: Metadata) -> None:
    if metadata.ttl and metadata.expires:
        hint = "keep ttl (seconds from now on) or expires (Unix time)"
        findings.add((*path, "ttl"), "a policy ends once, not twice", hint, key=True)
    if len(metadata.name) > MAX_NAME or not _NAME.fullmatch(metadata.name):
        hint = f"use at most {MAX_NAME} lower-case letters, digits, - and . as in host names"
        findings.add((*path, "name"), f"{metadata.name[:80]!r} is no name of a policy", hint)
    if len(metadata.labels) > MAX_LABELS:
        findings.add((*path, "labels"), f"more than {MAX_LABELS} labels")
        return
    for key, value in metadata.labels.items():
        if not _LABEL.fullmatch(key):
            hint = "use at most 63 letters, digits and . _ / -"
            findings.add((*path, "labels", key), "this is no key of a label", hint, key=True)
        if len(value) > _MAX_LABEL_VALUE:
            message = f"a label's value is longer than {_MAX_LABEL_VALUE} characters"
            findings.add((*path, "labels", key), message)


def to_record(
    manifest: ManifestDoc, *, owner: str, revision: int, now: float = 0.0
) -> PolicyRecord:
    """Return what the change log keeps of a manifest; ``revision`` is the new one.

    ``now`` is Unix time in seconds: a ``ttl`` begins then.
    """
    spec = msgspec.json.encode(manifest.spec).decode()
    expires = int(now) + manifest.ttl if manifest.ttl else manifest.expires
    return PolicyRecord(
        manifest.kind, manifest.name, revision, owner, spec, manifest.labels, expires
    )


def from_record(record: PolicyRecord) -> Policy:
    """Return a record's policy. Raises KeyError or msgspec.ValidationError for a foreign one."""
    return msgspec.json.decode(record.spec, type=KINDS[record.kind])


def to_manifest(record: PolicyRecord) -> dict[str, Any]:
    """Return a record as a manifest that can be changed and applied again."""
    metadata = Metadata(record.name, record.labels, record.revision, expires=record.expires)
    return {
        "apiVersion": API_VERSION,
        "kind": record.kind,
        "metadata": msgspec.to_builtins(metadata),
        "spec": msgspec.json.decode(record.spec),
    }


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one manifest of any kind."""
    schema = msgspec.json.schema(_ONE)
    schema.pop("discriminator", None)  # OpenAPI's; the constant of `kind` says the same.
    for body in schema["$defs"].values():
        if "description" in body:
            body["description"] = cleandoc(body["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Hilum policy manifest",
        **schema,
    }


def diff(old: PolicyRecord | None, new: PolicyRecord | None) -> list[str]:
    """Say in lines what changes from ``old`` to ``new``; no lines if nothing does."""
    record = new or old
    if record is None:
        return []
    label = f"{record.kind}/{record.name}"
    before, after = _flat(old), _flat(new)
    lines = [
        line
        for key in dict.fromkeys([*before, *after])
        for line in _lines(key[0], before.get(key), after.get(key))
    ]
    if old is not None and new is not None:
        return [f"~ {label}", *lines] if lines else []
    return [f"{'+' if old is None else '-'} {label}", *lines]


def _lines(path: str, before: str | None, after: str | None) -> list[str]:
    if before == after:
        return []
    if before is None or after is None:
        return [f"  {'+' if before is None else '-'} {path}: {before or after}"]
    return [f"  ~ {path}: {before} -> {after}"]


_Flat: TypeAlias = dict[tuple[str, str], str]
"""JSON text by path; entries of lists also by themselves."""


def _flat(record: PolicyRecord | None) -> _Flat:
    found: _Flat = {}
    if record is not None:
        _flatten("", {"labels": record.labels, **msgspec.json.decode(record.spec)}, found)
    return found


def _flatten(path: str, value: object, found: _Flat) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _flatten(f"{path}.{key}" if path else str(key), inner, found)
    elif isinstance(value, list):
        for inner in value:
            text = msgspec.json.encode(inner).decode()
            found[path, text] = text
    else:
        found[path, ""] = msgspec.json.encode(value).decode()
