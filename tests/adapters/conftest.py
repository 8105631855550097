"""Event loops of the adapters' tests: what listens runs on uvloop, as the product does."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

BOTH = (
    "test_http_streams.py",
    "test_mqtt_connection.py",
    "test_mqtt_listener.py",
    "test_mqtt_websocket.py",
)
"""Tests that run on asyncio's own loop too: transports differ in how they close and pause."""
UVLOOP = ("test_http_", "test_mqtt_outbound_", "test_coap_")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in BOTH:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if item.path.name.startswith(UVLOOP):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
