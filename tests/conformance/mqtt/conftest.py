"""One site for all conformance tests of a worker: free topics, and two principals.

The long rounds run everything over WebSocket too.

``MQTT_TARGET=port`` runs the tests against another broker on this machine instead.
"""

import os
from collections.abc import Callable, Iterator
from itertools import count
from urllib.parse import urlsplit

import pytest

from tests.conformance.mqtt.client import Client, tcp
from tests.conformance.mqtt.websocket import WebSocket
from tests.running import Gateway

POLICIES = """
apiVersion: hilum/v1
kind: TopicSpace
metadata: {name: free}
spec: {names: ["free/**"]}
---
apiVersion: hilum/v1
kind: AccessPolicy
metadata: {name: free}
spec:
  effect: allow
  subjects: [{principal: "device:one"}, {principal: "device:two"}]
  actions: [publish, subscribe, describe]
  names: ["free/**", "Registered/**"]
  groups: ["*"]
"""
_numbers = count(1)


class Target:
    """Where the server is, and the tokens of two principals."""

    def __init__(self, port: int, websocket: int = 0, token: str = "", other: str = "") -> None:
        self.port = port
        self.websocket = websocket
        self.token = token
        self.other = other


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    port = os.environ.get("MQTT_TARGET")
    if port:
        yield Target(int(port))
        return
    config = "[mqtt]\nwebsocket_port = 0\n[identity]\nfailures = 1000000\n"
    with Gateway(tmp_path_factory.mktemp("mqtt"), config=config) as gateway:
        gateway.apply(POLICIES)
        channels = {f"c{number}": {} for number in range(20)}
        objects = [{"name": "Registered", "channels": channels}]
        gateway.register({"microservice": "Conformance", "instance": "a", "objects": objects})
        tokens = [gateway.token_for(f"device:{who}", "device") for who in ("one", "two")]
        ports = [urlsplit(url).port or 0 for url in (gateway.mqtt, gateway.mqtt_websocket)]
        yield Target(*ports, *tokens)


Opener = Callable[..., Client]


@pytest.fixture
def version() -> int:
    return 5


@pytest.fixture(params=["tcp", pytest.param("websocket", marks=pytest.mark.full)])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(target: Target, version: int, transport: str) -> Iterator[Opener]:
    """Open connections that send nothing yet; they are closed after the test."""
    made: list[Client] = []

    def make(version: int = version) -> Client:
        connection = tcp(target.port) if transport == "tcp" else WebSocket(target.websocket)
        made.append(Client(connection, target.token, version))
        return made[-1]

    yield make
    for client in made:
        client.cut()


@pytest.fixture
def connected(opened: Opener) -> Opener:
    """Open connections of clients that the server has accepted."""

    def make(client_id: str | None = None, *, version: int = 5, **given: object) -> Client:
        client = opened(version=version)
        got = client.connect(f"c{next(_numbers)}" if client_id is None else client_id, **given)
        assert got.code == 0
        return client

    return make


@pytest.fixture
def topic() -> str:
    """A topic of the test's own."""
    return f"free/t{next(_numbers)}"


@pytest.fixture
def client_id() -> str:
    """A client identifier of the test's own."""
    return f"own{next(_numbers)}"
