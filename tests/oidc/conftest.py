"""One provider for all tests of a worker: who changes its keys starts one of its own."""

from collections.abc import Iterator

import pytest

from tests.oidc.provider import Provider


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running
