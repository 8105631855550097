"""Subscribers, last values and histories see what policies let them see, also after a change."""

import pytest

from gateway.channels import masks
from gateway.exchange import Plane
from gateway.message import Refusal, Status
from gateway.view import View
from policy.access.index import AccessIndex
from policy.model import AccessPolicy, Action, Obligations, Subject
from tests.gateway.play import ScriptedProvider
from tests.gateway.test_channels import (  # noqa: F401 - fixtures
    WHO,
    Listener,
    channels,
    clock,
    log,
    route,
    until,
)

SECRET = b'{"s": 1, "t": 2}'
SEEN = '{"s":null,"t":2}'


def rule(*mask: str, groups: tuple[str, ...] = ()) -> AccessPolicy:
    duties = Obligations(mask=mask)
    return AccessPolicy(
        "allow", (Subject(),), (Action.SUBSCRIBE,), ("**",), groups, obligations=duties
    )


@pytest.fixture
def access(channels):  # noqa: F811
    index = AccessIndex("localhost")
    index.put("AccessPolicy", "plain", rule("/s"))
    channels.sight.mask_of = masks(Plane(View(), index, ScriptedProvider([])))
    return index


async def publish(channels, at, payload=SECRET, kind="application/json"):  # noqa: F811
    return await channels.publish(at, "token:band", kind, payload)


@pytest.mark.parametrize("durable", [False, True])
async def test_events_histories_and_last_values_are_masked(channels, access, durable):  # noqa: F811
    at = route(durable=durable)
    first = Listener().listen(channels, at)
    site = Listener().listen(channels, at, principal=None)
    await publish(channels, at)
    await publish(channels, at, b"s=1", "text/plain")
    late = Listener().listen(channels, at, after="oldest")
    await until(lambda: late.payloads and first.payloads and len(site.payloads) == 2)
    assert first.payloads == late.payloads == [SEEN]
    assert site.payloads[0] == SECRET.decode()
    with pytest.raises(Refusal) as caught:
        await channels.last(at, WHO)
    assert caught.value.status is Status.DENIED
    assert (await channels.last(at)).payload == b"s=1"
    await publish(channels, at)
    assert (await channels.last(at, WHO)).payload == SEEN.encode()


async def test_a_change_of_policy_changes_what_is_seen(channels, access):  # noqa: F811
    at = route()
    mine = Listener().listen(channels, at)
    assert channels.newest(at, WHO) is None
    for name, mask in (("more", ("/t",)), ("plain", ()), ("more", ())):
        await publish(channels, at)
        access.put("AccessPolicy", name, rule(*mask))
        channels.redecide(lambda *_: None)
    await publish(channels, at)
    assert mine.payloads == [SEEN, '{"s":null,"t":null}', '{"s":1,"t":null}', SECRET.decode()]
    assert channels.newest(at, WHO).payload == SECRET


async def test_a_group_has_a_decision_of_its_own(channels, access):  # noqa: F811
    access.put("AccessPolicy", "plain", rule())
    access.put("AccessPolicy", "red", rule("/s", groups=("red",)))
    access.put("AccessPolicy", "blue", rule(groups=("blue",)))
    at = route()
    red = Listener().listen(channels, at, group="red")
    blue = Listener().listen(channels, at, group="blue")
    await publish(channels, at)
    assert red.payloads == [SEEN]
    assert blue.payloads == [SECRET.decode()]
