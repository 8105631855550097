"""Casbin's links (``g`` and its kin): roles with their members, and objects with theirs."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from policy.casbin_exchange.terms import NotExpressible


class RoleId(NamedTuple):
    """A role in a domain ("": in none)."""

    role: str
    domain: str = ""


class Roles:
    """What the rows of ``g`` say: whoever stands on the right of one is a role."""

    def __init__(self, links: Sequence[tuple[str, ...]], prefix: str) -> None:
        self._members: dict[RoleId, list[str]] = {}
        for link in links:
            if not 2 <= len(link) <= 3:
                raise NotExpressible(f"a row of g has two or three columns: {', '.join(link)}")
            role = RoleId(link[1], link[2] if len(link) == 3 else "")
            self._members.setdefault(role, []).append(link[0])
        self._names: dict[RoleId, str] = {}
        for role in self._members:
            self._names[role] = _free(_slug(prefix, role), set(self._names.values()))

    def name(self, role: RoleId) -> str:
        """Return the name of a role's manifest, "" when there is no such role."""
        return self._names.get(role, "")

    def specs(self, principal: Callable[[str], str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each role's name and spec."""
        inherits: dict[RoleId, list[str]] = {}
        for role, members in self._members.items():
            for member in members:
                inner = RoleId(member, role.domain)
                if inner in self._members:
                    inherits.setdefault(inner, []).append(self._names[role])
        for role, members in self._members.items():
            spec: dict[str, Any] = {
                "subjects": [{"principal": principal(one)} for one in dict.fromkeys(members)]
            }
            if role in inherits:
                spec["inherits"] = list(dict.fromkeys(inherits[role]))
            yield self._names[role], spec


class Objects:
    """What the rows of ``g2`` and its kin say: objects and the roles that they have."""

    def __init__(self, links: Sequence[tuple[str, ...]]) -> None:
        self._members: dict[str, list[str]] = {}
        for link in links:
            if len(link) != 2:
                raise NotExpressible(f"links of objects have two columns: {', '.join(link)}")
            self._members.setdefault(link[1], []).append(link[0])

    def reached(self, role: str) -> list[str]:
        """Return what is linked to a role over any number of steps, and the role itself."""
        found, waiting = {role: None}, [role]
        while waiting:
            for member in self._members.get(waiting.pop(), ()):
                if member not in found:
                    found[member] = None
                    waiting.append(member)
        return list(found)


def _slug(prefix: str, role: RoleId) -> str:
    text = f"{prefix}-{role.role}" + (f".{role.domain}" if role.domain else "")
    return re.sub(r"-*\.[-.]*", ".", re.sub(r"[^a-z0-9.]+", "-", text.lower())).strip("-.")[:200]


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
