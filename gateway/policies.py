"""The policies in force, indexed for the compiler and the hot path; one writer, the site."""

import asyncio
import logging
from collections.abc import Callable, Container, Iterable, Sequence

from gateway.quality.admission import Admission
from gateway.quality.places import Quality
from gateway.recent import Recent, differences
from policy.access.attributes import FactsOf, nothing_known
from policy.access.index import AccessIndex
from policy.first_use import Covering
from policy.language import ManifestDoc, from_record
from policy.model import (
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
from policy.patterns import PatternIndex
from registry.model import PolicyRecord
from registry.names import Name, Pattern

DECIDING = frozenset(
    {
        "AccessPolicy",
        "LifecyclePolicy",
        "Role",
        "Attribute",
        "ObjectAttributes",
        "Assertion",
        "Environment",
        "FirstUsePolicy",
    }
)
"""Kinds of policies that decide what a principal may do."""
_Other = (
    ResolutionPolicy
    | TopicSpace
    | QualityPolicy
    | FirstUsePolicy
    | ObjectAttributes
    | Assertion
    | Role
    | Attribute
    | Environment
)
_Said = (
    AccessPolicy | LifecyclePolicy | Role | Attribute | ObjectAttributes | Assertion | Environment
)

log = logging.getLogger("hilum.policies")


def _report(policy: str, why: str) -> None:
    log.warning("%s could not be evaluated: %s", policy, why)


def is_deny(record: PolicyRecord) -> bool:
    """Whether a policy only takes away."""
    spec = from_record(record)
    return isinstance(spec, AccessPolicy | LifecyclePolicy) and spec.effect == "deny"


class PolicyBook:
    """Access rules, resolutions and bindings by what they speak of."""

    def __init__(
        self,
        authority: str,
        aliases: Container[str],
        remotes: Container[str],
        clock: Callable[[], float],
        facts_of: FactsOf = nothing_known,
    ) -> None:
        self._authority = authority
        self._aliases = aliases
        self._recent = Recent(clock)
        self.access = AccessIndex(authority, aliases, self._recent.note, facts_of, remotes)
        self.access.failed = _report
        self.deliveries: dict[str, tuple[str, Binding]] = {}
        """Channel-to-method bindings by policy name: who owns them, and what they bind."""
        self.sources: dict[str, tuple[str, Binding]] = {}
        """Sources of channels by policy name, likewise."""
        self.spaces: PatternIndex[TopicSpace] = PatternIndex()
        self.qualities: PatternIndex[Quality] = PatternIndex()
        self.first_uses: PatternIndex[Covering] = PatternIndex()
        self.controllers: dict[str, Name] = {}
        """The controllers' methods by policy name."""
        self.environments: dict[str, Environment] = {}
        self._specs: dict[tuple[str, str], Policy] = {}
        self._resolutions: PatternIndex[ResolutionPolicy] = PatternIndex()
        self._static: dict[Name, dict[str, Binding]] = {}
        self._early = 0

    def put(self, record: PolicyRecord) -> list[Pattern]:
        """Put a policy in force; return the patterns of names that must be compiled anew."""
        touched = self.remove(record.kind, record.name)
        spec = from_record(record)
        self._specs[record.kind, record.name] = spec
        if isinstance(spec, _Said):
            self.access.put(record.kind, record.name, spec)
        if isinstance(spec, AccessPolicy | LifecyclePolicy):
            return touched
        if not isinstance(spec, Binding):
            touched += self._put_other(record, spec)
        elif spec.call:
            self.deliveries[record.name] = (record.owner, spec)
        elif spec.source:
            self.sources[record.name] = (record.owner, spec)
        else:
            self._static.setdefault(Name(spec.name), {})[record.name] = spec
            touched.append(self._pattern(spec.name))
        return touched

    def remove(self, kind: str, name: str) -> list[Pattern]:
        """Take a policy out of force; return the patterns of names to compile anew."""
        spec = self._specs.pop((kind, name), None)
        if spec is None:
            return []
        if isinstance(spec, _Said):
            self.access.remove(kind, name)
        if isinstance(spec, AccessPolicy | LifecyclePolicy):
            return []
        if not isinstance(spec, Binding):
            return self._remove_other(name, spec)
        if spec.call:
            del self.deliveries[name]
            return []
        if spec.source:
            del self.sources[name]
            return []
        bindings = self._static[Name(spec.name)]
        del bindings[name]
        if not bindings:
            del self._static[Name(spec.name)]
        return [self._pattern(spec.name)]

    def _put_other(self, record: PolicyRecord, spec: _Other) -> list[Pattern]:
        patterns = self._patterns(spec)
        if isinstance(spec, FirstUsePolicy) and spec.call:
            self.controllers[record.name] = Name(spec.call)
        elif isinstance(spec, Environment):
            self.environments[record.name] = spec
        for pattern in patterns:
            if isinstance(spec, ResolutionPolicy):
                self._resolutions.put(pattern, record.name, spec)
            elif isinstance(spec, TopicSpace):
                self.spaces.put(pattern, record.name, spec)
            elif isinstance(spec, QualityPolicy):
                quality = Quality(record.name, record.revision, spec)
                self.qualities.put(pattern, record.name, quality)
            elif isinstance(spec, FirstUsePolicy):
                self.first_uses.put(pattern, record.name, Covering(record.name, spec))
        return patterns if isinstance(spec, ResolutionPolicy | QualityPolicy) else []

    def _remove_other(self, name: str, spec: _Other) -> list[Pattern]:
        patterns = self._patterns(spec)
        if isinstance(spec, FirstUsePolicy):
            self.controllers.pop(name, None)
        elif isinstance(spec, Environment):
            self.environments.pop(name, None)
        for pattern in patterns:
            if isinstance(spec, ResolutionPolicy):
                self._resolutions.remove(pattern, name)
            elif isinstance(spec, TopicSpace):
                self.spaces.remove(pattern, name)
            elif isinstance(spec, QualityPolicy):
                self.qualities.remove(pattern, name)
            elif isinstance(spec, FirstUsePolicy):
                self.first_uses.remove(pattern, name)
        return patterns if isinstance(spec, ResolutionPolicy | QualityPolicy) else []

    def deny(self, records: Sequence[PolicyRecord]) -> Callable[[], None]:
        """Put denies in force before they are written; return what lifts them again.

        They stand beside what they may replace, so that nothing is granted early. One whose
        condition needs an attribute that is not declared yet waits: it would deny everybody.
        """
        self._early += 1
        labels = [(r.kind, f"{r.name} (not yet written, {self._early})") for r in records]
        for record, label in zip(records, labels, strict=True):
            spec = from_record(record)
            assert isinstance(spec, AccessPolicy | LifecyclePolicy)
            self.access.put(*label, spec)
            if spec.when and "/".join(label) in self.access.failures:
                self.access.remove(*label)

        def lift() -> None:
            for label in labels:
                self.access.remove(*label)

        return lift

    async def different_decisions(self, documents: Iterable[ManifestDoc]) -> list[str]:
        """Say what traffic of the last minutes would be decided differently with ``documents``."""
        specs = self.specs()
        specs.update({(d.kind, d.name): d.spec for d in documents})
        return await asyncio.to_thread(differences, self.access.empty(), specs, self._recent.last())

    def admission(self, clock: Callable[[], float], random: Callable[[], float]) -> Admission:
        """Return what lets traffic pass by the quality policies in force."""
        return Admission(self.qualities, clock, random, self.access.roles_of)

    def resolution_of(self, name: Name) -> ResolutionPolicy | None:
        """Return the resolution policy with the most specific pattern for a name."""
        return next(self._resolutions.matching(name), None)

    def static_of(self, name: Name) -> Sequence[Binding]:
        """Return the operator's own bindings of a name, the same order after every replay."""
        return [binding for _, binding in sorted(self._static.get(name, {}).items())]

    def specs(self) -> dict[tuple[str, str], Policy]:
        """Return a copy of what is in force, by kind and name."""
        return dict(self._specs)

    def static_names(self) -> set[Name]:
        """Return the names that operators bound."""
        return set(self._static)

    def _patterns(self, spec: _Other) -> list[Pattern]:
        """Return what a policy speaks of; nothing, if it names nothing."""
        return list(dict.fromkeys(map(self._pattern, getattr(spec, "names", ()))))

    def _pattern(self, text: str) -> Pattern:
        return Pattern.parse(text, authority=self._authority, aliases=self._aliases)
