"""Whatever the log says: replayed, or from a snapshot and the rest, it is what was live."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.model import Action, Binding, Choice, HealthCheck, Principal
from policy.resolution import origin
from registry.changes import (
    Change,
    Deregistered,
    Expired,
    ObjectCreated,
    ObjectDestroyed,
    PolicyDeleted,
    Registered,
    TokenRevoked,
)
from registry.model import (
    Endpoint,
    EventChannel,
    Method,
    Registration,
    RegistrationId,
    VirtualObject,
)
from registry.names import Name
from tests.gateway.sites import (
    Time,
    applied,
    change,
    issued,
    opened,
    resolution,
    rule,
    running,
    shown,
)

IDS = [RegistrationId("R", "1", "a"), RegistrationId("R", "1", "b"), RegistrationId("R", "2", "a")]
NAMES = ["s/w", "s/w/m", "s/v"]
OWNERS = st.sampled_from(["svc:a", "svc:b"])
ASKED = [Principal("svc:a", "service"), Principal("user:u", "user")]


def made(name: str, methods: str, channels: str, host: str) -> VirtualObject:
    return VirtualObject(
        name,
        methods={
            m: Method(safe=m == "n", endpoints=(Endpoint(f"http://{host}/{m}"),)) for m in methods
        },
        channels={c: EventChannel(durable=c == "d") for c in channels},
    )


objects = st.builds(
    made,
    st.sampled_from(NAMES),
    st.sampled_from(["", "m", "n", "mn"]),
    st.sampled_from(["", "c", "d"]),
    st.sampled_from(["h", "g.test:81"]),
)
ids = st.sampled_from(IDS)
generations = st.integers(1, 3)
policy_names = st.sampled_from("pq")
patterns = st.sampled_from([("**",), ("w/**",), ("*/m",), ("w/m", "v/**"), ("w/*",)])
choices = st.sampled_from(
    [
        (),
        (Choice(version="2"),),
        (Choice(version="1", weight=3), Choice(version="2", weight=1)),
        (Choice(version="2"), Choice(site="http://other.test", order=1)),
    ]
)
policies = st.one_of(
    st.builds(
        lambda effect, actions, names: rule(effect, *actions, names=names),
        st.sampled_from(["allow", "deny"]),
        st.sampled_from([(), (Action.CALL,), (Action.PUBLISH,)]),
        st.sampled_from(["**", "w/**", "*/m"]),
    ),
    st.builds(
        lambda names, chosen, check: resolution(*names, choices=chosen, health=check),
        patterns,
        choices,
        st.sampled_from([None, HealthCheck("/")]),
    ),
    st.builds(
        lambda name, host, safe: Binding(name, f"http://{host}/", safe=safe),
        st.sampled_from(["s/w/m", "s/x/y"]),
        st.sampled_from(["s1.test", "s2.test"]),
        st.booleans(),
    ),
    st.just(Binding("s/w/c", call="s/w/m")),
)
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(
        lambda id_, owner, generation, objs: Registered(
            Registration(id_, owner, "::1", 60, generation, tuple(objs))
        ),
        ids,
        OWNERS,
        generations,
        st.lists(objects, max_size=3, unique_by=lambda o: o.name),
    ),
    st.builds(Deregistered, ids),
    st.builds(Expired, ids, generations),
    st.builds(ObjectCreated, ids, objects),
    st.builds(ObjectDestroyed, st.sampled_from(NAMES).map(Name)),
    st.builds(applied, policy_names, policies, generations),
    st.builds(
        PolicyDeleted,
        st.sampled_from(["AccessPolicy", "ResolutionPolicy", "Binding"]),
        policy_names,
    ),
    st.builds(issued, st.sampled_from("tu"), OWNERS),
    st.builds(TokenRevoked, st.sampled_from("tu")),
)
batches = st.lists(st.lists(changes, min_size=1, max_size=4), max_size=12)


def state(site) -> dict[str, object]:
    """Everything that traffic is decided on."""
    decisions = {
        (who.id, action, name): site.allowed(who, action, name)
        for who in ASKED
        for action in (Action.CALL, Action.PUBLISH, Action.DESCRIBE)
        for name in (*site.view.routes, Name("s/nowhere"))
    }
    return {
        "routes": shown(site),
        "decisions": decisions,
        "known": {t: site.identity.tokens.known(t, 0) is not None for t in ("svc:a", "svc:b")},
        "deliveries": site.policies.deliveries,
        "introspection": [r.id for r in site.registrations_of("R")],
        "leases": sorted(site._leases),
        "probed": sorted((origin(t.endpoint.url), check.path) for t, check in site.view.probed()),
        "children": {k: set(v) for k, v in site.view.children.items()},
    }


async def live_and_replayed(log: list[list[Change]], snapshot_every: int) -> None:
    time = Time()
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder), keep_entries=2) as store:
            async with running(store, time, snapshot_every=snapshot_every) as live:
                for batch in log:
                    await change(live, *batch)
                snapshotting = live.ledger._snapshotting
                if snapshotting is not None:
                    await snapshotting
                found = state(live)
            async with running(store, time) as replayed:
                assert state(replayed) == found


@settings(max_examples=60)
@given(batches)
def test_a_replayed_log_gives_the_state_that_was_live(log: list[list[Change]]) -> None:
    asyncio.run(live_and_replayed(log, snapshot_every=10_000))


@settings(max_examples=60)
@given(batches)
def test_a_snapshot_and_the_rest_of_the_log_give_it_too(log: list[list[Change]]) -> None:
    asyncio.run(live_and_replayed(log, snapshot_every=3))
