"""Roles: who has which, inherited ones included (RBAC1, Sandhu et al. 1996). Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from policy.decision import Question
from policy.model import ANONYMOUS, Action, Principal, Role, Subject

KEPT: Final = 100_000
"""Principals whose roles are remembered."""
_OWNERS: Final = frozenset({Action.PUBLISH, Action.CREATE, Action.DESTROY})


def is_owner(question: Question) -> bool:
    """Whether who asks may do this because the name is his (design 4)."""
    # Anonymous callers share one id, so that none of them owns what another made.
    principal = question.principal
    return (
        question.owner != ""
        and question.owner == principal.id
        and question.action in _OWNERS
        and principal.kind != ANONYMOUS.kind
    )


def is_subject(subject: Subject, principal: Principal, roles: Iterable[str]) -> bool:
    """Whether a principal with these roles is meant by a subject condition."""
    return (
        subject.principal in ("*", principal.id)
        and subject.kind in ("*", principal.kind)
        and (not subject.role or subject.role in roles)
    )


class Roles:
    """The roles in force. A cycle, which ``apply`` refuses, would make its roles equal."""

    def __init__(self) -> None:
        self._roles: dict[str, Role] = {}
        self._principals: dict[str, set[str]] = {}
        self._others: dict[str, Role] = {}
        self._known: dict[Principal, frozenset[str]] = {}

    def put(self, name: str, role: Role) -> None:
        """Add a role or replace it."""
        self.remove(name)
        self._roles[name] = role
        for subject in role.subjects:
            if subject.principal != "*":
                self._principals.setdefault(subject.principal, set()).add(name)
            else:
                self._others[name] = role
        self._known = {}

    def remove(self, name: str) -> None:
        """Remove a role, if it is there."""
        role = self._roles.pop(name, None)
        self._others.pop(name, None)
        for subject in role.subjects if role is not None else ():
            self._principals.get(subject.principal, set()).discard(name)
        self._known = {}

    def of(self, principal: Principal) -> frozenset[str]:
        """Return the roles that a principal has: its credential's, its policies', inherited."""
        roles = self._known.get(principal)
        if roles is None:
            if len(self._known) >= KEPT:
                self._known = {}
            roles = self._known[principal] = self._found(principal)
        return roles

    def _found(self, principal: Principal) -> frozenset[str]:
        candidates = self._principals.get(principal.id, set()) | self._others.keys()
        waiting = [
            name
            for name in candidates
            if any(is_subject(s, principal, ()) for s in self._roles[name].subjects)
        ]
        waiting += principal.roles
        found: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                role = self._roles.get(name)
                waiting += role.inherits if role is not None else ()
        return frozenset(found)


def cycles(roles: Mapping[str, Role]) -> list[list[str]]:
    """Return the circles in which roles inherit from each other, each beginning where it ends."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in sorted(roles):
        path: list[str] = []
        on_path: dict[str, int] = {}
        branches = [iter((start,))]
        while branches:
            name = next(branches[-1], None)
            if name is None:
                branches.pop()
                if path:
                    done.add(path[-1])
                    del on_path[path.pop()]
            elif name in on_path:
                found.append([*path[on_path[name] :], name])
            elif name in roles and name not in done:
                on_path[name] = len(path)
                path.append(name)
                branches.append(iter(roles[name].inherits))
    return found
