"""The sites and clients of CoAP's conformance tests, on the loop that the product runs on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.adapters.coap_site import CoapSite, Device, running_coap


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[CoapSite]:
    async with running_coap(tmp_path) as running:
        yield running


@pytest.fixture
def device(site: CoapSite) -> Iterator[Device]:
    with Device(site.port) as client:
        yield client


@pytest.fixture
async def verified(device: Device) -> Device:
    return await device.verified()
