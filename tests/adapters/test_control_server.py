"""The control API's listener within a site's loop: its limits, its metrics, its document."""

import asyncio
import contextlib
import errno
import json
import re
from itertools import pairwise
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.control import calling, metrics, server
from adapters.control.health import Health, _write_problem
from adapters.control.metrics import OTHERS, SERIES, Gauge, Metrics
from adapters.control.openapi import document
from adapters.control.operations import OPERATIONS
from adapters.control.server import ControlServer
from gateway.message import Status
from gateway.settings import Control
from policy.model import Action
from tests.adapters.relay import running_relay

GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
async def relay(tmp_path):
    async with running_relay(tmp_path) as running:
        yield running


@pytest.fixture
async def port(relay, tmp_path):
    control = ControlServer(relay.site, Control(port=0), tmp_path)
    yield await control.start()
    await control.stop()


async def connect(port):
    return await asyncio.open_connection("127.0.0.1", port)


async def read(reader):
    return await asyncio.wait_for(reader.read(65_536), 5)


@pytest.mark.parametrize("sent", [b"", GET[:20]])
async def test_a_connection_that_asks_nothing_is_closed(port, monkeypatch, sent):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.1)
    reader, writer = await connect(port)
    writer.write(sent)
    assert await read(reader) == b""
    writer.close()


async def test_a_connection_that_goes_on_asking_stays_open(port, monkeypatch):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.2)
    reader, writer = await connect(port)
    for _ in range(6):
        writer.write(GET)
        assert b"alive" in await read(reader)
        await asyncio.sleep(0.08)
    assert await read(reader) == b""
    writer.close()


async def alive(reader):
    await asyncio.wait_for(reader.readuntil(b"alive\n"), 5)


async def test_the_oldest_that_asks_nothing_gives_its_place(port, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    connections = [await connect(port) for _ in range(2)]
    for reader, writer in connections:
        writer.write(GET)
        await alive(reader)
    reader, late = await connect(port)
    late.write(GET)
    await alive(reader)
    assert await read(connections[0][0]) == b""
    connections[1][1].write(GET)
    await alive(connections[1][0])
    for writer in (connections[0][1], connections[1][1], late):
        writer.close()


async def test_one_connection_too_many_is_turned_away_while_all_are_asking(port, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 2)
    connections = [await connect(port) for _ in range(2)]
    for _, writer in connections:
        writer.write(
            b"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
        )
    await asyncio.sleep(0.05)
    reader, late = await connect(port)
    late.write(GET)
    with contextlib.suppress(ConnectionResetError):
        assert await read(reader) == b""
    for writer in (connections[0][1], connections[1][1], late):
        writer.close()


async def test_a_payload_that_does_not_come_is_not_waited_for(port, monkeypatch):
    monkeypatch.setattr(calling, "BODY_SECONDS", 0.1)
    reader, writer = await connect(port)
    writer.write(b"POST /api/v1/explain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
    answer = await read(reader)
    assert answer.startswith(b"HTTP/1.1 504 ")
    assert b"did not come in time" in answer
    writer.close()


async def test_an_address_that_is_taken_is_an_error_of_start(relay, tmp_path, port):
    with pytest.raises(OSError, match=str(port)) as refused:
        await ControlServer(relay.site, Control(port=port), tmp_path).start()
    assert refused.value.errno == errno.EADDRINUSE


async def test_stop_without_start_and_stop_twice_are_fine(relay, tmp_path):
    control = ControlServer(relay.site, Control(port=0), tmp_path)
    await control.stop()
    await control.start()
    await control.stop()
    await control.stop()


async def test_readiness_looks_at_the_disk_now_and_then_only(relay, tmp_path):
    now = [0.0]
    folder = tmp_path / "state"
    folder.mkdir()
    health = Health(relay.site, folder, lambda: now[0])
    assert await health.problems() == []
    folder.rmdir()
    assert await health.problems() == []
    now[0] = 60.0
    assert len(await health.problems()) == 1
    relay.site.ready = False
    assert len(await health.problems()) == 2
    assert "No such file" in _write_problem(folder)


def families(site, gauges=()):
    text = Metrics(site, gauges).exposition().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


async def test_calls_are_counted_with_their_latencies(relay):
    await relay.method("Weather/now", "http://127.0.0.1:9/")
    await relay.ask("/Weather/now")
    await relay.ask("/Weather/now")
    found = families(relay.site)
    own = [s for s in found["hilum_calls"].samples if s.labels["microservice"] == "Weather"]
    assert sum(sample.value for sample in own) == 2
    assert {sample.labels["action"] for sample in own} == {"call"}
    assert {sample.labels["status"] for sample in own} <= {status.slug for status in Status}
    histogram = [
        sample
        for sample in found["hilum_call_duration_seconds"].samples
        if sample.labels["microservice"] == "Weather"
    ]
    buckets = [s.value for s in histogram if s.name.endswith("_bucket")]
    assert all(a <= b for a, b in pairwise(buckets))
    assert buckets[-1] == 2
    assert found["hilum_ready"].samples[0].value == 1
    assert found["hilum_routes"].samples[0].value >= 2
    assert found["hilum_log_seq"].samples[0].value == relay.site.ledger.seq
    assert found["process_open_fds"].samples[0].value > 0


async def test_the_number_of_series_is_bounded_and_who_has_one_keeps_it(relay, monkeypatch):
    monkeypatch.setattr(metrics, "SERIES", 3)
    collector = metrics.SiteCollector(relay.site, ())
    meters = [relay.site.view.meter_of(f"m{number}") for number in range(10)]
    for meter in meters:
        meter.observe(Action.CALL, Status.OK, 0.01)
    grouped = collector._grouped()
    named = set(grouped) - {OTHERS}
    assert len(named) == 3
    assert sum(len(group) for group in grouped.values()) == len(relay.site.view.meters())
    assert set(collector._grouped()) == {*named, OTHERS}
    kept = meters.pop(next(i for i, m in enumerate(meters) if m.microservice in named))
    gone = kept.microservice
    del kept, meter, grouped
    assert gone not in collector._grouped()
    assert len(set(collector._grouped()) - {OTHERS}) == 3
    assert SERIES >= 100


async def test_a_hostile_name_is_only_a_labels_value(relay):
    meter = relay.site.view.meter_of('evil"} 1\n# TYPE x\\')
    meter.observe(Action.CALL, Status.OK, 0.01)
    samples = families(relay.site)["hilum_calls"].samples
    assert meter.microservice in [sample.labels["microservice"] for sample in samples]


async def test_what_the_program_adds_is_shown(relay):
    gauges = [
        Gauge("hilum_connections", "Open.", lambda: {"": 7}),
        Gauge("hilum_pool", "By origin.", lambda: {"a:1": 1, "b:2": 2}, "origin"),
    ]
    found = families(relay.site, gauges)
    assert found["hilum_connections"].samples[0].value == 7
    values = {s.labels["origin"]: s.value for s in found["hilum_pool"].samples}
    assert values == {"a:1": 1, "b:2": 2}


DOCUMENT = document("0.0.0")


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def all_operations():
    for path, methods in DOCUMENT["paths"].items():
        for verb, operation in methods.items():
            yield pytest.param(path, verb, operation, id=operation["operationId"])


ALL = list(all_operations())


def test_the_document_is_whole():
    assert DOCUMENT["openapi"].startswith("3.1")
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    ids = [operation.values[2]["operationId"] for operation in ALL]
    assert len(ids) == len(set(ids))
    assert {operation.id for operation in OPERATIONS} <= set(ids)
    for reference in references(DOCUMENT):
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize(("path", "verb", "operation"), ALL)
def test_an_operation_is_described_in_full(path, verb, operation):
    assert verb in {"get", "post", "delete"}
    assert operation["summary"].endswith(".")
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    in_path = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    names = [parameter["name"] for parameter in operation.get("parameters", ())]
    assert len(names) == len(set(names))
    for parameter in operation.get("parameters", ()):
        assert parameter["schema"]
        assert parameter["in"] == "query" or parameter["required"]
    assert all(answer for answer in operation["responses"].values())
    assert "200" in operation["responses"]


async def test_the_document_and_every_route_in_it_are_served(running_site):
    served = running_site.http("GET", "/openapi.json", control=True).json()
    assert served["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))
    for path, methods in served["paths"].items():
        for verb in methods:
            place = re.sub(r"{\w+}", "0", path)
            reply = running_site.http(verb.upper(), place, control=True, token="")
            nothing = reply.status in (404, 405) and "control API" in reply.json()["detail"]
            assert not nothing, f"{verb} {path}"
    assert urlsplit(running_site.control).port
