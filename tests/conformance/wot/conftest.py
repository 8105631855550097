"""A site, and clients of its directory."""

import pytest

from tests.conformance.wot.things import DirectoryClient
from tests.running import Gateway


@pytest.fixture
def directory(running_site: Gateway) -> DirectoryClient:
    return DirectoryClient(running_site)


@pytest.fixture
def stranger(running_site: Gateway) -> DirectoryClient:
    """Somebody who may do nothing here."""
    return DirectoryClient(running_site, running_site.token_for("user:stranger", "user"))
