"""``kill -9`` under load: what was acknowledged is there, in order, and what was taken is not."""

import pytest

from adapters.audit.folder import verify
from tests.site import book


async def test_a_killed_site_comes_back_with_all_that_it_acknowledged(tmp_path):
    told = await book.run(tmp_path, rounds=3, longest=0.8)
    assert set(told.counts) >= {"event", "registration", "token", "deny", "call"}
    assert verify(tmp_path / "state" / "audit").findings == []


@pytest.mark.full
async def test_thirty_kills_lose_nothing(tmp_path):
    told = await book.run(tmp_path, rounds=30, longest=1.5)
    assert min(told.counts.values()) > 100
