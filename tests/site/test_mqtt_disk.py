"""A disk that is full now and then, under MQTT load: nothing is promised that is not kept."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from tests.site import mailbook
from tests.site.mailbook import PUBACK, PUBREC, Link, Mailbook, Publisher
from tests.site.test_disk import full_disk


class Refusable(Publisher):
    """A publisher that takes no for an answer (MQTT 5.0 section 4.3.3), and comes again."""

    def __init__(self, *given):
        super().__init__(*given)
        self.refused: set[int] = set()

    def take(self, link: Link, first: int, body: bytes) -> None:
        if first >> 4 in (PUBACK, PUBREC) and body[2:3] >= b"\x80":
            self.refused.add(self.pending.pop(int.from_bytes(body[:2], "big")))
        else:
            super().take(link, first, body)


class Troubled(Mailbook):
    publisher = Refusable

    async def load(self, seconds: float) -> None:
        filling = asyncio.create_task(self.fill(seconds))
        await super().load(seconds)
        await filling

    async def fill(self, seconds: float) -> None:
        """Let the disk be full for a part of the time; sometimes it is when the site crashes."""
        await asyncio.sleep(random.uniform(0, seconds * 0.6))
        if self.site.process is not None:
            with full_disk(self.site):
                await asyncio.sleep(random.uniform(0.05, seconds * 0.5))

    async def until_the_end(self, client):
        """Come again when the connection breaks while the site is up."""
        while not self.down:
            with contextlib.suppress(ConnectionError):
                await client.work()
            await asyncio.sleep(0.02)

    def check(self) -> None:
        """What was acknowledged came, and QoS 2 not twice; what was refused may have come."""
        for subscriber in self.subscribers:
            texts = Counter(text for _, text in subscriber.got)
            for source in (*self.publishers, *self.posters):
                who = (subscriber.name, source.name)
                missing = [n for n in source.acknowledged if not texts[f"{source.name}:{n}"]]
                assert not missing, who
                if min(subscriber.qos, source.qos) == 2:
                    twice = [
                        text
                        for text, times in texts.items()
                        if times > 1 and text.startswith(f"{source.name}:")
                    ]
                    assert not twice, who

    async def check_log(self) -> None:
        texts = Counter(await self.history())
        for source in self.publishers:
            if source.topic == "log/a":
                times = {n: texts[f"{source.name}:{n}"] for n in range(1, source.sent + 1)}
                assert all(times[number] for number in source.acknowledged), source.name
                assert source.qos == 1 or max(times.values()) == 1, source.name


async def test_a_full_disk_breaks_no_promise(tmp_path):
    told = await mailbook.run(tmp_path, rounds=2, longest=1.0, kind=Troubled)
    assert all(one.acknowledged for one in told.publishers)


@pytest.mark.full
async def test_a_disk_that_is_often_full_breaks_no_promise(tmp_path):
    await mailbook.run(tmp_path, rounds=20, longest=1.5, kind=Troubled)
