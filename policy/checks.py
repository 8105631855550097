"""What must hold of each kind of policy beyond its types; names in it become canonical."""

import re
from collections.abc import Collection, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from policy.access.checks import (
    check_assertion,
    check_attribute,
    check_condition,
    check_obligations,
    check_role,
    check_stated,
    check_subjects,
)
from policy.model import (
    AccessPolicy,
    Action,
    Assertion,
    Attribute,
    Binding,
    Choice,
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
from policy.quality.checks import check_quality
from policy.spec import Spec
from registry.documents import Path
from registry.model import Endpoint
from registry.urls import PORTS, WEB

MAX_RULES: Final = 10_000
"""Subjects times actions times names of one policy."""

_GROUP = re.compile(r"[A-Za-z0-9._~:=@-]{1,128}")
_STICKY = re.compile(r"principal|header:[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_PLUGIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,200}:[A-Za-z_][A-Za-z0-9_]{0,100}")
_USES = (Action.CALL, Action.PUBLISH, Action.SUBSCRIBE, Action.DESCRIBE)
_PATH = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*")

P = TypeVar("P", AccessPolicy, LifecyclePolicy)


def check(spec: Spec, policy: Policy) -> Policy:
    """Return ``policy`` with canonical names; adds what is wrong to ``spec``'s findings."""
    if isinstance(policy, AccessPolicy):
        return _access(spec, policy)
    if isinstance(policy, LifecyclePolicy):
        return _lifecycle(spec, policy)
    if isinstance(policy, Binding):
        return _binding(spec, policy)
    if isinstance(policy, ResolutionPolicy):
        return _resolution(spec, policy)
    if isinstance(policy, FirstUsePolicy):
        return _first_use(spec, policy)
    if isinstance(policy, Assertion):
        return check_assertion(spec, policy)
    return _other(spec, policy)


def _other(
    spec: Spec,
    policy: Role | Attribute | ObjectAttributes | Environment | QualityPolicy | TopicSpace,
) -> Policy:
    if isinstance(policy, Role):
        check_role(spec, policy)
    elif isinstance(policy, Attribute):
        check_attribute(spec, policy)
    elif isinstance(policy, ObjectAttributes):
        check_stated(spec, "object", policy.attributes)
    elif isinstance(policy, Environment):
        check_stated(spec, "environment", policy.attributes)
    elif isinstance(policy, QualityPolicy):
        check_subjects(spec, policy.subjects)
        check_quality(policy, spec.add)
    if isinstance(policy, TopicSpace | ObjectAttributes | QualityPolicy):
        return replace(policy, names=spec.names(policy.names))
    return policy


def _access(spec: Spec, policy: AccessPolicy) -> AccessPolicy:
    policy = _rules(spec, policy)
    check_obligations(spec, policy)
    for index, group in enumerate(policy.groups):
        if group != "*" and not _GROUP.fullmatch(group):
            hint = "use letters, digits and . _ ~ : = @ -, or '*' alone for every group"
            spec.add(("groups", index), f"{group!r} is no name of a group", hint)
    if policy.groups and Action.SUBSCRIBE not in policy.actions:
        hint = "add subscribe to the actions or remove the groups"
        spec.add(("groups",), "groups matter to subscribe only", hint, key=True)
    return policy


def _lifecycle(spec: Spec, policy: LifecyclePolicy) -> LifecyclePolicy:
    policy = _rules(spec, policy)
    for index, text in enumerate(policy.endpoints):
        _base_url(spec, ("endpoints", index), text)
    if policy.endpoints and "bind" not in policy.actions:
        hint = "add bind to the actions or remove the endpoints"
        spec.add(("endpoints",), "endpoints matter to bind only", hint, key=True)
    return policy


def _rules(spec: Spec, policy: P) -> P:
    check_subjects(spec, policy.subjects)
    check_condition(spec, policy.when)
    size = len(policy.subjects) * len(policy.actions) * len(policy.names)
    if size > MAX_RULES:
        message = f"{size} combinations of subjects, actions and names, more than {MAX_RULES}"
        spec.add((), message, "split the policy")
    return replace(policy, names=spec.names(policy.names))


def _base_url(spec: Spec, path: Path, text: str, schemes: Collection[str] = PORTS) -> None:
    url = spec.findings.url((*spec.path, *path), text, schemes=schemes)
    if url is not None and url.query:
        spec.add(path, "a query cannot be compared", "remove '?' and what follows")


def _binding(spec: Spec, policy: Binding) -> Binding:
    name = spec.findings.name((*spec.path, "name"), policy.name, registrable=True)
    said = [key for key in ("endpoint", "call", "source") if getattr(policy, key)]
    if len(said) != 1:
        message = f"a binding has one of endpoint, call and source, this one {_listed(said)}"
        hint = "give an endpoint (URL) to a method, a call (method) or a source (URL) to a channel"
        spec.add((), message, hint)
        return policy
    if policy.endpoint:
        endpoint = Endpoint(policy.endpoint, policy.method, policy.args, policy.encoding)
        spec.findings.endpoint(spec.path, endpoint, "endpoint")
        return replace(policy, name=name)
    plain = Binding(
        policy.name, call=policy.call, source=policy.source, description=policy.description
    )
    if policy != plain:
        message = "method, args, encoding, safe and idempotent belong to an endpoint, "
        message += f"not to a {said[0]}"
        spec.add((said[0],), message, "remove them", key=True)
    if policy.source:
        spec.findings.source((*spec.path, "source"), policy.source)
        return replace(policy, name=name)
    call = spec.findings.name((*spec.path, "call"), policy.call)
    if call == name:
        spec.add(("call",), "a channel cannot be bound to itself", "name a method")
    return replace(policy, name=name, call=call)


def _first_use(spec: Spec, policy: FirstUsePolicy) -> FirstUsePolicy:
    if bool(policy.call) == bool(policy.plugin):
        hint = "name the method of a microservice (call), or module:attribute (plugin)"
        spec.add((), "a controller is a call or a plugin, one of them", hint)
    elif policy.plugin and not _PLUGIN.fullmatch(policy.plugin):
        hint = "write module:attribute, such as wards.duty:decide"
        spec.add(("plugin",), f"{policy.plugin[:80]!r} is no plug-in", hint)
    for index, action in enumerate(policy.actions):
        if action not in _USES:
            hint = "let rules decide: an AccessPolicy or a LifecyclePolicy"
            spec.add(("actions", index), f"nobody is held for {action}", hint)
    if policy.call:
        policy = replace(policy, call=spec.findings.name((*spec.path, "call"), policy.call))
    return replace(policy, names=spec.names(policy.names))


def _listed(keys: Sequence[str]) -> str:
    return " and ".join(keys) if keys else "none"


def _resolution(spec: Spec, policy: ResolutionPolicy) -> ResolutionPolicy:
    for index, choice in enumerate(policy.choices):
        _choice(spec, ("choices", index), choice)
    if policy.choices and not any(choice.weight for choice in policy.choices):
        spec.add(("choices",), "every weight is 0", "give one choice a weight", key=True)
    if policy.sticky and not _STICKY.fullmatch(policy.sticky):
        hint = "write principal, or header: and the name of a header"
        spec.add(("sticky",), f"sticky cannot be {policy.sticky!r}", hint)
    if policy.health is not None and not _PATH.fullmatch(policy.health.path):
        hint = "write a path such as /healthz"
        spec.add(("health", "path"), f"{policy.health.path!r} is no path", hint)
    return replace(policy, names=spec.names(policy.names))


def _choice(spec: Spec, path: Path, choice: Choice) -> None:
    of_service = choice.microservice or choice.version or choice.instance
    if not of_service and not choice.site:
        hint = "give a microservice, version, instance or site"
        spec.add(path, "this choice names nothing", hint)
    elif of_service and choice.site:
        hint = "the other site resolves the name itself: make it two choices"
        spec.add((*path, "site"), "a choice is a microservice or a site, not both", hint, key=True)
    elif choice.site:
        _base_url(spec, (*path, "site"), choice.site, WEB)
