"""Settings of the whole test suite."""

import os

from hypothesis import HealthCheck, settings

# Two busy cores make single examples slow, so time alone never fails a property.
settings.register_profile(
    "house", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("full", settings.get_profile("house"), max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))
