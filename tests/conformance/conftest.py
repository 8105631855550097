"""Settings of the conformance tests."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "clause(*names): the clauses that the test covers")
