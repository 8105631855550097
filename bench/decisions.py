"""Time per access decision: ``python -m bench.decisions``.

The compiled index (cached, evaluated, with all reasons) and casbin on the same policies; every
rule names another principal and object, and the rule that matches comes last. Casbin walks all
of its rows for each question, so it is asked at the small sizes only.
"""

import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from policy.access import AccessIndex
from policy.casbin_store import Reference, to_casbin
from policy.decision import Question
from policy.model import AccessPolicy, Action, Principal, Subject
from registry.names import Name

AUTHORITY = "snac.asu.edu"
SIZES = (10, 100, 1_000, 10_000)
CASBIN_SIZES = (10, 100, 1_000)
ROUNDS = 5


def policy(number: int) -> AccessPolicy:
    """Allow one principal to call what is below one object."""
    return AccessPolicy(
        "allow",
        (Subject(f"user:u{number}"),),
        (Action.CALL,),
        (f"{AUTHORITY}/building/o{number}/**",),
    )


def best(work: Callable[[], object], times: int) -> float:
    """Return the least µs per call over some rounds."""
    figures = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(times):
            work()
        figures.append((time.perf_counter() - begun) / times * 1e6)
    return min(figures)


def measure(size: int) -> list[str]:
    """Return one row of the table."""
    index = AccessIndex(AUTHORITY)
    policies = {("AccessPolicy", f"p{number}"): policy(number) for number in range(size)}
    begun = time.perf_counter()
    for (kind, name), each in policies.items():
        index.put(kind, name, each)
    put = (time.perf_counter() - begun) / size * 1e6
    caller = Principal(f"user:u{size - 1}", "person")
    name = Name(f"{AUTHORITY}/building/o{size - 1}/call")
    question = Question(caller, Action.CALL, name)
    stranger = question._replace(principal=Principal("user:nobody", "person"))
    assert index.check(caller, Action.CALL, name, "").allowed
    assert not index.decide(stranger).allowed
    figures = [
        best(lambda: index.check(caller, Action.CALL, name, ""), 100_000),
        best(lambda: index._evaluate(question), 20_000),  # noqa: SLF001 - a miss of the cache
        best(lambda: index.decide(question), 20_000),
        best(lambda: index.decide(stranger), 20_000),
        best(lambda: index.explain(stranger), 1 + 1000 // size),
        best(lambda: index.put("AccessPolicy", "p0", policy(0)), 1_000),
        put,
    ]
    row = [f"{size:,}", *(f"{figure:,.2f}" for figure in figures)]
    if size not in CASBIN_SIZES:
        return [*row, "-"]
    reference = Reference(to_casbin(policies, AUTHORITY), AUTHORITY)
    assert reference.allows(question)
    return [*row, f"{best(lambda: reference.allows(question), 1 + 300 // size):,.0f}"]


def main() -> None:
    """Measure and print."""
    table = Table(title="µs per decision, the matching rule last")
    columns = ("rules", "cached", "evaluated", "with reasons", "denied", "explained", "replace")
    for column in (*columns, "put", "casbin"):
        table.add_column(column, justify="right")
    for size in SIZES:
        table.add_row(*measure(size))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
