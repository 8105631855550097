"""What a microservice sends when it registers or creates an object (S3 III-A, III-B).

The manifest's names become canonical; every error says line, column and what to do.
"""

import re
from collections.abc import Container, Iterable
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from registry.checks import Findings, Scope
from registry.describe import describe_microservice, describe_object
from registry.documents import Path, read_one
from registry.model import (
    Deployment,
    Endpoint,
    EventChannel,
    Method,
    Profile,
    RegistrationId,
    Terms,
    Text,
    VirtualObject,
)
from registry.names import Name, member
from registry.schemas import SchemaChecks

__all__ = [
    "MAX_NAMES",
    "Manifest",
    "count_names",
    "decode_manifest",
    "decode_object",
    "describe_microservice",
    "describe_object",
]

MAX_MEMBERS: Final = 256
"""Methods and channels of one object."""
MAX_NAMES: Final = 10_000
"""Objects, methods and channels of one registration: it changes in one step, traffic waits."""

_IDENTITY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?")

SECURITY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What names a secret of an object."""

ApiVersion: TypeAlias = Literal["hilum/v1"]
M = TypeVar("M", Method, EventChannel)


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A microservice and the objects it offers; ``lease`` in seconds."""

    apiVersion: ApiVersion  # noqa: N815 - the name that Kubernetes made customary
    microservice: str
    version: str
    instance: str = "default"
    lease: Annotated[int, Meta(ge=5, le=86_400)] = 60
    description: Text = ""
    objects: Annotated[tuple[VirtualObject, ...], Meta(max_length=1000)] = ()
    deployment: Deployment = ""


class Creation(Struct, frozen=True, forbid_unknown_fields=True):
    """An object that a registered microservice creates at run time."""

    microservice: str
    version: str
    object: VirtualObject
    instance: str = "default"
    apiVersion: ApiVersion = "hilum/v1"  # noqa: N815


def decode_manifest(
    data: bytes,
    *,
    media_type: str = "application/json",
    authority: str,
    aliases: Container[str] = (),
    remotes: Container[str] = (),
) -> Manifest:
    """Read a registration manifest. Raises InvalidDocument with up to 20 problems."""
    document = read_one(data, media_type=media_type)
    manifest = document.decode(Manifest)
    findings = Findings(document, Scope(authority, aliases, remotes))
    _check_identity(findings, manifest)
    if (size := count_names(manifest.objects)) > MAX_NAMES:
        hint = "register them in parts, as several instances"
        findings.add(("objects",), f"{size} names, more than {MAX_NAMES}", hint)
        findings.finish()
    checks = _Objects(findings)
    objects = [checks.check(("objects", index), obj) for index, obj in enumerate(manifest.objects)]
    checks.finish()
    return replace(manifest, objects=tuple(objects))


def decode_object(
    data: bytes,
    *,
    media_type: str = "application/json",
    authority: str,
    aliases: Container[str] = (),
    remotes: Container[str] = (),
) -> tuple[RegistrationId, VirtualObject]:
    """Read what ``create`` is called with: whose object, and the object. Raises InvalidDocument."""
    document = read_one(data, media_type=media_type)
    creation = document.decode(Creation)
    findings = Findings(document, Scope(authority, aliases, remotes))
    _check_identity(findings, creation)
    checks = _Objects(findings)
    obj = checks.check(("object",), creation.object)
    checks.finish()
    return RegistrationId(creation.microservice, creation.version, creation.instance), obj


def count_names(objects: Iterable[VirtualObject]) -> int:
    """Return how many names some objects are, with all their members."""
    return sum(1 + len(obj.methods) + len(obj.channels) for obj in objects)


def secured(endpoint: Endpoint, obj: str) -> Endpoint:
    """Return an endpoint of an object with the whole name of its secret."""
    return (
        replace(endpoint, security=f"{obj}#{endpoint.security}") if endpoint.security else endpoint
    )


def _check_identity(findings: Findings, manifest: Manifest | Creation) -> None:
    for key in ("microservice", "version", "instance"):
        text = getattr(manifest, key)
        if not _IDENTITY.fullmatch(text):
            hint = "use letters, digits and . _ + ~ - between them, at most 128"
            findings.add((key,), f"{text[:80]!r} cannot be the {key}", hint)


class _Objects:
    """Checks the objects of one document together: a name is one object, method or channel."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._schemas = SchemaChecks(findings)
        self._seen: dict[Name, str] = {}

    def check(self, path: Path, obj: VirtualObject) -> VirtualObject:
        """Return the object with canonical names."""
        found = len(self._findings.problems)
        name = self._findings.name((*path, "name"), obj.name, registrable=True)
        if len(self._findings.problems) > found:
            return obj  # Its members would only repeat what is wrong with its name.
        self._claim((*path, "name"), name, "object")
        size = len(obj.methods) + len(obj.channels)
        if size > MAX_MEMBERS:
            self._findings.add(path, f"{size} members, more than {MAX_MEMBERS}", "use more objects")
            return obj
        methods, channels = {}, {}
        for key, method in obj.methods.items():
            here = (*path, "methods", key)
            methods[self._member(here, name, key, "method")] = self._method(here, name, method)
        for key, channel in obj.channels.items():
            here = (*path, "channels", key)
            channels[self._member(here, name, key, "channel")] = self._channel(here, channel)
        types = self._terms((*path, "types"), obj.types)
        place = self._findings.term((*path, "place"), obj.place) if obj.place else ""
        return replace(obj, name=name, methods=methods, channels=channels, types=types, place=place)

    def finish(self) -> None:
        """Raise InvalidDocument if anything is wrong."""
        self._findings.finish()

    def _member(self, path: Path, name: Name, key: str, what: str) -> str:
        """Check a member's own name and return its canonical form."""
        if "/" in key:
            hint = "a member is one segment of a name: remove '/'"
            self._findings.add(path, f"{key[:80]!r} cannot be a member", hint, key=True)
            return key
        full = self._findings.name(path, f"{name}/{key}", registrable=True, key=True)
        self._claim(path, full, what)
        return member(full)

    def _claim(self, path: Path, name: Name, what: str) -> None:
        if name in self._seen:
            hint = "a name is exactly one object, one method or one channel"
            is_key = what != "object"
            message = f"{name} is already {self._seen[name]} of this manifest"
            self._findings.add(path, message, hint, key=is_key)
        self._seen[name] = f"{'an' if what == 'object' else 'a'} {what}"

    def _method(self, path: Path, obj: Name, method: Method) -> Method:
        for index, endpoint in enumerate(method.endpoints):
            self._findings.endpoint((*path, "endpoints", index), endpoint)
            self._security((*path, "endpoints", index, "security"), endpoint.security)
        if any(endpoint.security for endpoint in method.endpoints):
            method = replace(method, endpoints=tuple(secured(e, obj) for e in method.endpoints))
        if method.input is not None:
            self._schemas.check((*path, "input"), method.input)
        if method.output is not None:
            self._schemas.check((*path, "output"), method.output)
        return self._meaning(path, method)

    def _security(self, path: Path, word: str) -> None:
        if word and not SECURITY.fullmatch(word):
            hint = "use letters, digits, _ and -, at most 64; then: hilum endpoint-secret put"
            self._findings.add(path, f"{word[:80]!r} cannot name a secret", hint)

    def _channel(self, path: Path, channel: EventChannel) -> EventChannel:
        if channel.retain.count == 0 and channel.retain.bytes == 0:
            hint = "limit count or bytes"
            self._findings.add((*path, "retain"), "the channel would keep everything", hint)
        if channel.schema is not None:
            self._schemas.check((*path, "schema"), channel.schema)
        for index, url in enumerate(channel.sources):
            self._findings.source((*path, "sources", index), url)
        return self._meaning(path, channel)

    def _meaning(self, path: Path, definition: M) -> M:
        """Return a member with whole IRIs where it speaks of an ontology."""
        if not definition.types and definition.profile is None:
            return definition
        types = self._terms((*path, "types"), definition.types)
        profile = definition.profile
        if profile is not None:
            profile = self._profile((*path, "profile"), profile)
        return replace(definition, types=types, profile=profile)

    def _profile(self, path: Path, profile: Profile) -> Profile:
        term = self._findings.term
        return replace(
            profile,
            category=term((*path, "category"), profile.category) if profile.category else "",
            inputs={k: term((*path, "inputs", k), v) for k, v in profile.inputs.items()},
            outputs={k: term((*path, "outputs", k), v) for k, v in profile.outputs.items()},
            preconditions=self._terms((*path, "preconditions"), profile.preconditions),
            effects=self._terms((*path, "effects"), profile.effects),
        )

    def _terms(self, path: Path, terms: Terms) -> Terms:
        return tuple(self._findings.term((*path, i), each) for i, each in enumerate(terms))
