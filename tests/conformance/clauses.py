"""Which clauses of a specification a test covers: ``docs/conformance.md`` is checked against it."""

import pytest

# ``@clause("MQTT-3.1.0-1")``: a statement of MQTT 5.0; "MQTT311-…" one of MQTT 3.1.1.
clause = pytest.mark.clause
