"""The site and the clients of the resource directory's tests."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.adapters.live import LiveSite
from tests.conformance.rd.nodes import Registrant, directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LiveSite]:
    async with directory(tmp_path_factory.mktemp("rd")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def device(site: LiveSite) -> AsyncIterator[Registrant]:
    with Registrant(site.application.devices.coap_port) as client:
        yield client
