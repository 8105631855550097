"""What must hold of a QualityPolicy beyond its types."""

from collections.abc import Callable

from policy.model import QualityPolicy
from registry.documents import Path

Add = Callable[[Path, str, str], None]


def check_quality(policy: QualityPolicy, add: Add) -> None:
    """Tell ``add`` what is wrong: where, what and what to do."""
    concurrency, breaker, shed = policy.concurrency, policy.breaker, policy.shed
    if not _says_something(policy):
        hint = "give messages, bytes, concurrency, timeout, retries, breaker, outlier, shed or"
        add((), "this policy limits nothing and ranks nobody", f"{hint} a priority")
    if concurrency is not None and concurrency.minimum > concurrency.limit:
        add(("concurrency", "minimum"), "the minimum is above the limit", "lower it")
    if breaker is not None and breaker.maximum < breaker.open:
        hint = "a breaker stays open for open seconds at first, for maximum at last"
        add(("breaker", "maximum"), "maximum is less than open", hint)
    if shed is not None and not (shed.errors or shed.p99 or shed.queue):
        add(("shed",), "nothing is asked", "give errors, p99 or queue")
    if shed is not None and shed.queue and (concurrency is None or not concurrency.queue):
        add(("shed", "queue"), "nothing waits without a concurrency limit with a queue", "add one")
    if "binding" in policy.per and concurrency is not None and concurrency.queue:
        hint = "an endpoint that is full is passed over: remove the queue, or binding"
        add(("concurrency", "queue"), "calls do not wait for one endpoint", hint)
    if len(set(policy.per)) < len(policy.per):
        add(("per",), "something is named twice", "remove it")


def _says_something(policy: QualityPolicy) -> bool:
    rules = (policy.messages, policy.bytes, policy.concurrency, policy.retries, policy.breaker)
    more = (policy.outlier, policy.shed, policy.priority)
    return bool(policy.timeout) or any(rule is not None for rule in (*rules, *more))
