"""What must hold of a QualityPolicy, and where errors point to."""

import pytest

from policy.language import parse_manifests
from registry.problems import InvalidDocument


def parse(spec):
    lines = "\n".join(f"  {line}" for line in spec.splitlines())
    text = f"apiVersion: hilum/v1\nkind: QualityPolicy\nmetadata: {{name: q}}\nspec:\n{lines}\n"
    return parse_manifests(text.encode(), "application/yaml", "s.test")


def test_a_policy_with_everything():
    (manifest,) = parse(
        """names: ["plans/**"]
subjects: [{kind: device}]
per: [principal, name]
messages: {rate: 10, burst: 20}
bytes: {rate: 1e5}
concurrency: {limit: 8, queue: 16, wait: 0.5, adaptive: true, minimum: 2}
timeout: 2000
retries: {attempts: 2, budget: 0.1}
breaker: {failures: 5, open: 5, maximum: 60}
outlier: {failures: 3, seconds: 10, share: 0.3}
shed: {errors: 0.5, p99: 800, queue: 10}
priority: 7
reserve: 0.2"""
    )
    assert manifest.spec.names == ("s.test/plans/**",)
    assert manifest.spec.messages.burst == 20


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("names: [a]", "spec"),
        ("names: [a]\nconcurrency: {limit: 2, minimum: 3}", "spec.concurrency.minimum"),
        ("names: [a]\nbreaker: {open: 9, maximum: 8}", "spec.breaker.maximum"),
        ("names: [a]\nshed: {calls: 5}", "spec.shed"),
        ("names: [a]\nshed: {queue: 5}", "spec.shed.queue"),
        ("names: [a]\nper: [binding]\nconcurrency: {limit: 2, queue: 3}", "spec.concurrency.queue"),
        ("names: [a]\nper: [name, name]\ntimeout: 1", "spec.per"),
        ("names: [a]\nmessages: {rate: 0}", "spec.messages.rate"),
        ("names: [a]\nmessages: {rate: .nan}", "spec.messages.rate"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(spec, path):
    with pytest.raises(InvalidDocument) as caught:
        parse(spec)
    assert [problem.path for problem in caught.value.problems] == [path]
