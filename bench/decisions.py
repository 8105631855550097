"""Time per access decision: ``make bench ARGS=decisions``.

The compiled index beside Cedar (policies and entities prepared) and casbin, on the same policies:
each allows one principal to call what is below one object, if its level is high enough and the
threat is low, and the one that matches comes last. "One name" are 1,000 policies about the same
object, each for another department. Hilum is measured without its cache of decisions, beside that
with it. Rounds alternate; figures are the medians of a round's means.
"""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from bench.options import Options
from bench.process import MissingProgram
from bench.results import Section, Target
from policy.access.index import AccessIndex
from policy.casbin_exchange.store import Reference
from policy.casbin_exchange.text import to_casbin
from policy.decision import Question
from policy.model import AccessPolicy, Action, Attribute, Principal, Subject
from registry.names import Name

AUTHORITY = "snac.asu.edu"
SPREAD = {10: 30, 1_000: 500, 10_000: 5_000}
"""Rules -> how many times as long as Hilum Cedar should need at least."""
ONE_NAME, ONE_NAME_FACTOR = 1_000, 30
CASBIN = (10, 1_000)
SECONDS = 0.15
"""How long one measurement of a round lasts, about."""
WHEN = "subject.level >= 3 and environment.threat < 7"
ATTRIBUTES = {"level": 5.0, "department": ""}


class Case:
    """Policies of one size and kind, and the question that the last of them answers."""

    def __init__(self, size: int, *, one_name: bool = False) -> None:
        self.size = size
        self.one_name = one_name
        last = size - 1
        department = f"d{last}" if one_name else "d"
        attributes = {"level": 5.0, "department": department}
        self.caller = Principal(f"user:u{last}", "person", attributes=attributes)
        self.department = department
        self.object = "o" if one_name else f"o{last}"
        self.name = Name(f"{AUTHORITY}/building/{self.object}/call")
        self.question = Question(self.caller, Action.CALL, self.name)
        self.policies = {
            ("AccessPolicy", f"p{number}"): self._policy(number) for number in range(size)
        }

    @property
    def label(self) -> str:
        """What it is called in the table."""
        return f"{self.size:,}, {'one name' if self.one_name else 'spread'}"

    def _policy(self, number: int) -> AccessPolicy:
        subject, name, when = Subject(f"user:u{number}"), f"o{number}", WHEN
        if self.one_name:
            subject, name = Subject(), "o"
            when = f'subject.department == "d{number}" and {WHEN}'
        names = (f"{AUTHORITY}/building/{name}/**",)
        return AccessPolicy("allow", (subject,), (Action.CALL,), names, when=when)

    def cedar(self) -> str:
        """Return the same policies in Cedar's language."""
        lines = []
        for number in range(self.size):
            who, what = f'principal == User::"u{number}"', f"o{number}"
            when = "principal.level >= 3 && context.threat < 7"
            if self.one_name:
                who, what = "principal", "o"
                when = f'principal.department == "d{number}" && {when}'
            lines.append(
                f'permit({who}, action == Action::"call", resource in Object::"{what}")'
                f" when {{ {when} }};"
            )
        return "\n".join(lines)


def index_of(case: Case) -> AccessIndex:
    """Return the compiled policies of a case."""
    index = AccessIndex(AUTHORITY)
    for attribute, type_ in (("level", "number"), ("department", "string")):
        declared = Attribute(f"subject.{attribute}", type_)  # type: ignore[arg-type]
        index.put("Attribute", attribute, declared)
    for (kind, name), policy in case.policies.items():
        index.put(kind, name, policy)
    index.tick(1_700_000_000.0)
    assert index.check(case.caller, Action.CALL, case.name, "").allowed
    stranger = Principal("user:nobody", "person", attributes={"level": 1.0, "department": "x"})
    assert not index.check(stranger, Action.CALL, case.name, "").allowed
    return index


def cedar_of(case: Case) -> Callable[[], object]:
    """Return Cedar's decision of a case's question, with all that can be prepared."""
    try:
        import cedarpy
    except ImportError:
        raise MissingProgram("cedarpy is not installed (the extra bench)") from None
    policies = cedarpy.PolicySet.from_str(case.cedar())
    user = {"type": "User", "id": case.caller.id.partition(":")[2]}
    call = {"type": "Object", "id": f"{case.object}/call"}
    above = {"type": "Object", "id": case.object}
    level = {"level": 5, "department": case.department}
    known = [
        {"uid": user, "attrs": level, "parents": []},
        {"uid": call, "attrs": {}, "parents": [above]},
        {"uid": above, "attrs": {}, "parents": []},
    ]
    entities = cedarpy.Entities.from_json_str(json.dumps(known))
    request = {
        "principal": user,
        "action": {"type": "Action", "id": "call"},
        "resource": call,
        "context": {"threat": 0},
    }

    def decide() -> object:
        return cedarpy.is_authorized(request, policies, entities)

    assert cedarpy.is_authorized(request, policies, entities).allowed
    return decide


def micros(work: Callable[[], object]) -> float:
    """Return µs per call over ``SECONDS``, about."""
    begun = time.perf_counter()
    work()
    once = time.perf_counter() - begun
    times = max(1, min(200_000, int(SECONDS / max(once, 1e-7))))
    begun = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - begun) / times * 1e6


def measure_case(case: Case, rounds: int) -> dict[str, float]:
    """Return the median µs of each way to decide."""
    index = index_of(case)
    works: dict[str, Callable[[], object]] = {
        "cached": lambda: index.check(case.caller, Action.CALL, case.name, ""),
        "evaluated": lambda: index._evaluate(case.question),  # noqa: SLF001 - past the cache
        "with reasons": lambda: index.decide(case.question),
        "Cedar": cedar_of(case),
    }
    if case.size in CASBIN and not case.one_name:
        works["casbin"] = _casbin(case)
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name in works if number % 2 else reversed(works):
            found[name].append(micros(works[name]))
    return {name: statistics.median(figures) for name, figures in found.items()}


def _casbin(case: Case) -> Callable[[], object]:
    plain: Mapping[Any, Any] = {
        key: AccessPolicy(p.effect, p.subjects, p.actions, p.names)
        for key, p in case.policies.items()
    }
    reference = Reference(to_casbin(plain, AUTHORITY), AUTHORITY)
    assert reference.allows(case.question)
    return lambda: reference.allows(case.question)


def measure(options: Options) -> Section:
    """Measure decisions."""
    section = Section("decisions", "Access decisions")
    cases = [*map(Case, SPREAD), Case(ONE_NAME, one_name=True)]
    columns = ("cached", "evaluated", "with reasons", "Cedar", "casbin")
    rows = []
    for case in cases:
        found = measure_case(case, options.rounds)
        figures = [f"{found[name]:,.2f}" if name in found else "-" for name in columns]
        rows.append([case.label, *figures])
        factor = ONE_NAME_FACTOR if case.one_name else SPREAD[case.size]
        ratio = found["Cedar"] / found["evaluated"]
        what = f"{case.label}: 1/{factor:,} of Cedar's time; it is 1/{ratio:,.0f}"
        section.targets.append(Target(what, factor / ratio, 1.0, " x"))
    section.table(["µs, rules", *columns], rows)
    section.notes.append("Casbin decides the same without the conditions.")
    return section
