"""Settings of the whole test suite."""

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.running import Gateway

# A shell starts its background jobs with SIGINT ignored; what tests start must hear Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Two busy cores make single examples slow, so time alone never fails a property.
settings.register_profile(
    "house", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("full", settings.get_profile("house"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


@pytest.fixture(scope="session")
def running_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A site that all tests of a worker share: do not stop it, and use names of your own.

    All of them are one source: without more patience the failures of one would be another's.
    """
    patient = "[identity]\nfailures = 1000000\n"
    with Gateway(tmp_path_factory.mktemp("site"), config=patient) as site:
        yield site
