"""Spans reach a collector over the wire as OTLP, and a collector that is away harms nobody."""

import time

import pytest

from adapters.otlp import exporter as exporting
from adapters.otlp.exporter import Exporter
from gateway.message import Call, Status
from gateway.tracing import Span
from policy.model import Action, Principal
from registry.names import Name
from tests.adapters.collector import Collector

ANN = Principal("user:ann", "user")


@pytest.fixture
def collector():
    found = Collector()
    yield found
    found.close()


def span(status=Status.OK, parent=b"", began=1_000_000_000):
    call = Call(Action.CALL, Name("site/plan/check"), ANN, 9.0)
    one = Span(call, b"ab" * 16, parent, b"cd" * 8, began)
    one.ended = began + 250_000_000
    one.status = status
    one.microservice = "plans"
    one.provider = "mqtt"
    return one


def exporter(collector, headers=None):
    made = Exporter(collector.url, headers or {}, "site", "1.2", seconds=0.01)
    made.start()
    return made


def test_a_span_arrives_as_it_was(collector):
    made = exporter(collector, {"Authorization": "Bearer abc"})
    made.export(span(parent=b"ef" * 8))
    made.export(span(Status.TIMEOUT))
    made.export(span(Status.DENIED))
    first, second, third = collector.wait(3)
    made.close()
    assert first["name"] == "call site/plan/check"
    assert (first["trace"], first["span"], first["parent"]) == ("ab" * 16, "cd" * 8, "ef" * 8)
    assert first["kind"] == 2, "SERVER"
    assert first["seconds"] == pytest.approx(0.25)
    assert first["attributes"] == {
        "hilum.action": "call",
        "hilum.name": "site/plan/check",
        "hilum.status": "ok",
        "hilum.microservice": "plans",
        "hilum.provider": "mqtt",
        "enduser.id": "user:ann",
    }
    assert first["resource"]["service.name"] == "hilum"
    assert first["resource"]["hilum.authority"] == "site"
    assert (first["code"], second["code"], third["code"]) == (0, 2, 0)
    assert second["message"] == "timeout"
    assert second["parent"] == ""
    assert collector.headers[0]["authorization"] == "Bearer abc"
    assert (made.sent, made.dropped) == (3, 0)


def test_a_collector_that_refuses_loses_spans_and_nothing_else(collector, caplog):
    collector.answer = 400
    made = exporter(collector)
    made.export(span())
    until = time.monotonic() + 5
    while made.dropped == 0 and time.monotonic() < until:
        time.sleep(0.01)
    assert made.dropped == 1
    assert [one.getMessage() for one in caplog.records if one.name == "hilum.trace"] == [
        "the trace collector takes no spans: they are dropped"
    ]
    collector.answer = 200
    made.export(span())
    collector.wait(1)
    made.close()
    assert made.sent == 1


def test_the_queue_is_bounded(collector, monkeypatch):
    monkeypatch.setattr(exporting, "QUEUE", 3)
    made = Exporter(collector.url, {}, "site", "1", seconds=60.0)
    for _ in range(5):
        made.export(span())
    assert (made.waiting, made.dropped) == (3, 2)
    made.start()
    made.close(5.0)
    assert len(collector.wait(3)) == 3
