"""Which endpoint gets a call: versions, weights, order, health, stickiness, other sites."""

from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.model import Choice, HealthCheck, Passive, ResolutionPolicy
from policy.resolution import (
    STATIC,
    Health,
    Selection,
    Source,
    Target,
    compile_selection,
    origin,
)
from registry.model import Endpoint, RegistrationId
from registry.names import Name

NAME = Name("snac.asu.edu/Plan/createPlan")
NOW = 100.0


def source(instance: str, version: str = "1", microservice: str = "Recommender") -> Source:
    id_ = RegistrationId(microservice, version, instance)
    return Source(id_, Endpoint(f"http://{instance}.v{version}.test/plans"), "10.0.0.1")


def healths() -> Callable[[str, HealthCheck | None], Health]:
    known: dict[tuple[str, HealthCheck | None], Health] = {}
    return lambda where, check: known.setdefault((where, check), Health())


def select(
    sources: Iterable[Source], *choices: Choice, sticky: str = "", name: Name = NAME
) -> Selection:
    policy = ResolutionPolicy(("**",), choices, sticky, passive=Passive(failures=2, seconds=10))
    return compile_selection(name, list(sources), policy, healths())


def picks(selection: Selection, count: int, key: bytes = b"", now: float = NOW) -> list[str]:
    found = [selection.pick(now, key, ()) for _ in range(count)]
    return [instance(target) for target in found]


def instance(target: Target | None) -> str:
    assert target is not None
    return target.site or target.registration.instance


def named(selection: Selection, wanted: str) -> Target:
    return next(t for t in selection.targets() if t.registration.instance == wanted)


# --- what a name resolves to -----------------------------------------------------------------


def test_nothing_offered_nothing_resolved() -> None:
    selection = select([])
    assert not list(selection.targets())
    assert selection.pick(NOW, b"", ()) is None


def test_a_single_endpoint_gets_everything() -> None:
    selection = select([source("a")])
    assert selection.single is named(selection, "a")
    assert picks(selection, 3) == ["a", "a", "a"]
    assert selection.pick(NOW, b"", (named(selection, "a"),)) is None


def test_a_new_version_gets_no_traffic_until_a_policy_names_it() -> None:
    sources = [source("a"), source("b", "2"), source("c")]
    assert set(picks(select(sources), 10)) == {"a", "c"}
    assert set(picks(select(sources, Choice(version="2")), 10)) == {"b"}


def test_a_new_version_takes_over_when_no_other_lives() -> None:
    assert picks(select([source("b", "2")]), 2) == ["b", "b"]


def test_another_microservice_with_the_same_version_is_not_the_established_one() -> None:
    sources = [source("a"), source("b", microservice="Impostor")]
    assert set(picks(select(sources), 10)) == {"a"}
    assert set(picks(select(sources, Choice(microservice="Impostor")), 10)) == {"b"}


def test_an_operators_own_binding_wins_over_what_registered() -> None:
    static = Source(STATIC, Endpoint("http://static.test/"), "")
    selection = select([source("a"), static])
    assert [str(t) for t in selection.targets()] == ["http://static.test/"]


def test_a_session_is_a_target_without_a_url() -> None:
    session = Source(RegistrationId("Nat", "1", "a"), Endpoint(""), "10.0.0.1", session="s1")
    selection = select([session])
    assert str(selection.single) == "Nat/1/a at session s1"


def test_an_endpoint_that_nobody_here_can_reach_is_left_out() -> None:
    """A replica of a later version may have admitted what this one cannot speak."""
    later = Source(RegistrationId("R", "1", "b"), Endpoint("amqp://h/plans"), "")
    none = Source(RegistrationId("R", "1", "c"), Endpoint("no url at all"), "")
    assert picks(select([later, none, source("a")]), 2) == ["a", "a"]


def test_a_redirect_sends_the_name_to_another_site() -> None:
    choice = Choice(site="https://other.test/gw/")
    selection = select([source("a")], choice)
    target = selection.single
    assert target is not None
    assert target.endpoint.url == "https://other.test/gw/Plan/createPlan"
    assert target.site == "https://other.test/gw/"
    assert picks(select([], choice), 1) == ["https://other.test/gw/"]


def test_an_endpoint_that_two_choices_name_is_one_target() -> None:
    """Else a call that failed there would be sent there again as its own fail-over."""
    selection = select([source("a"), source("b", "2")], Choice(version="2"), Choice(order=1))
    first = selection.pick(NOW, b"", ())
    assert instance(first) == "b"
    second = selection.pick(NOW, b"", (first,) if first else ())
    assert instance(second) == "a"
    assert selection.pick(NOW, b"", tuple(selection.targets())) is None


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://H.test/a/{b}", "http://h.test:80"),
        ("https://h.test:8443?x=1", "https://h.test:8443"),
        ("http://h.test:80", "http://h.test:80"),
        ("ftp://h.test/", ""),
        ("h.test", ""),
    ],
)
def test_an_origin_has_one_spelling(url: str, wanted: str) -> None:
    assert origin(url) == wanted


# --- weights ---------------------------------------------------------------------------------


def test_equal_instances_take_turns() -> None:
    found = picks(select([source("a"), source("b"), source("c")]), 9)
    assert Counter(found) == {"a": 3, "b": 3, "c": 3}
    assert all(len(set(found[at : at + 3])) == 3 for at in range(7))


@pytest.mark.parametrize(("first", "second"), [(90, 10), (1, 2), (99, 1), (1, 1), (500, 499)])
def test_weights_are_honoured_within_a_few_percent(first: int, second: int) -> None:
    sources = [source("a"), source("b", "2")]
    selection = select(
        sources, Choice(version="1", weight=first), Choice(version="2", weight=second)
    )
    share = Counter(picks(selection, 6400))["a"] / 6400
    assert share == pytest.approx(first / (first + second), abs=0.01)


def test_weights_are_of_choices_whatever_the_number_of_instances() -> None:
    sources = [source("a"), source("b"), source("c"), source("d", "2")]
    selection = select(sources, Choice(version="1", weight=3), Choice(version="2", weight=1))
    shares = Counter(picks(selection, 6400))
    assert shares["d"] / 6400 == pytest.approx(0.25, abs=0.01)
    assert shares["a"] == pytest.approx(shares["b"], rel=0.1)


def test_the_small_share_is_interleaved_not_sent_in_a_burst() -> None:
    sources = [source("a"), source("b", "2")]
    selection = select(sources, Choice(version="1", weight=90), Choice(version="2", weight=10))
    found = "".join(picks(selection, 128))
    gaps = [len(run) for run in found.strip("a").split("b")[1:-1]]
    assert gaps
    assert max(gaps) <= min(gaps) + 1


def test_a_weight_of_zero_means_no_traffic_not_even_as_the_last_resort() -> None:
    sources = [source("a"), source("b", "2")]
    selection = select(sources, Choice(version="1", weight=0), Choice(version="2"))
    target = named(selection, "b")
    assert selection.single is target
    assert selection.pick(NOW, b"", (target,)) is None


def test_two_choices_of_one_order_that_name_the_same_endpoint_add_up() -> None:
    sources = [source("a"), source("b")]
    selection = select(sources, Choice(instance="a", weight=1), Choice(version="1", weight=2))
    share = Counter(picks(selection, 6400))["a"] / 6400
    assert share == pytest.approx(2 / 3, abs=0.01)


def test_routes_begin_with_different_instances() -> None:
    """Else the first call of each of many rarely called names would hit the same instance."""
    sources = [source("a"), source("b")]
    firsts = [picks(select(sources, name=Name(f"s/plan{n}/m")), 1)[0] for n in range(200)]
    assert 60 < Counter(firsts)["a"] < 140


@given(st.lists(st.integers(0, 1_000_000), min_size=1, max_size=80))
def test_every_positive_weight_gets_some_traffic_and_never_more_than_its_share_and_a_bit(
    weights: list[int],
) -> None:
    sources = [source(str(n)) for n in range(len(weights))]
    choices = [Choice(instance=str(n), weight=w) for n, w in enumerate(weights)]
    selection = select(sources, *choices)
    assert {t.registration.instance for t in selection.targets()} == {
        str(n) for n, w in enumerate(weights) if w
    }
    assert bool(selection.tiers) == (len(selection.targets()) > 1)
    for tier in selection.tiers:
        slots = Counter(t.registration.instance for t in tier.slots)
        for name, count in slots.items():
            share = weights[int(name)] / sum(weights)
            assert count / len(tier.slots) <= share + 1.6 / 64


# --- health ----------------------------------------------------------------------------------


def test_failures_in_a_row_eject_for_a_while() -> None:
    health, passive = Health(), Passive(failures=3, seconds=10)
    for _ in range(2):
        health.failed(NOW, passive)
    assert health.ok(NOW)
    health.failed(NOW, passive)
    assert not health.ok(NOW)
    assert not health.ok(NOW + 9.9)
    assert health.ok(NOW + 10)


def test_a_success_forgets_failures() -> None:
    health, passive = Health(), Passive(failures=2)
    health.failed(NOW, passive)
    health.succeeded()
    health.failed(NOW, passive)
    assert health.ok(NOW)


def test_what_probes_say_is_down_gets_nothing() -> None:
    selection = select([source("a"), source("b")])
    named(selection, "a").health.down = True
    assert set(picks(selection, 10)) == {"b"}
    named(selection, "b").health.down = True
    assert selection.pick(NOW, b"", ()) is None


def test_a_single_endpoint_that_is_down_gets_nothing_but_an_ejected_one_is_tried() -> None:
    selection = select([source("a")])
    health = named(selection, "a").health
    health.ejected_until = NOW + 5
    assert picks(selection, 1) == ["a"]
    health.down = True
    assert selection.pick(NOW, b"", ()) is None


def test_an_ejected_endpoint_gets_nothing_while_another_is_healthy() -> None:
    selection = select([source("a"), source("b")])
    named(selection, "a").health.ejected_until = NOW + 5
    assert set(picks(selection, 10)) == {"b"}
    assert set(picks(selection, 10, now=NOW + 5)) == {"a", "b"}


def test_when_all_are_ejected_the_one_that_returns_first_is_tried() -> None:
    selection = select([source("a"), source("b"), source("c")])
    for name, until in (("a", 9.0), ("b", 3.0), ("c", 6.0)):
        named(selection, name).health.ejected_until = NOW + until
    assert picks(selection, 1) == ["b"]
    assert instance(selection.pick(NOW, b"", (named(selection, "b"),))) == "c"


def test_the_load_of_an_ejected_endpoint_is_spread_over_all_others() -> None:
    selection = select([source(name) for name in "abcd"])
    named(selection, "a").health.ejected_until = NOW + 5
    found = Counter(picks(selection, 6000))
    assert all(count == pytest.approx(2000, rel=0.1) for count in found.values())
    assert set(found) == {"b", "c", "d"}


def test_the_spread_keeps_the_weights() -> None:
    sources = [source("a"), source("b", "2"), source("c", "3")]
    choices = [Choice(version=v, weight=w) for v, w in (("1", 50), ("2", 40), ("3", 10))]
    selection = select(sources, *choices)
    named(selection, "a").health.ejected_until = NOW + 5
    found = Counter(picks(selection, 6400))
    assert found["b"] / 6400 == pytest.approx(0.8, abs=0.05)


def test_the_shares_of_versions_hold_when_an_instance_fails() -> None:
    both = (Choice(version="1", weight=50), Choice(version="2", weight=50))
    selection = select([source("a"), source("b"), source("c", "2")], *both)
    named(selection, "b").health.ejected_until = NOW + 10
    found = Counter(picks(selection, 400))
    assert found["a"] == found["c"] == 200


def test_an_instance_that_fails_leaves_its_share_to_its_own_version() -> None:
    sources = [source("a"), source("b"), source("c", "2")]
    selection = select(sources, Choice(version="1", weight=90), Choice(version="2", weight=10))
    named(selection, "a").health.ejected_until = NOW + 5
    found = Counter(picks(selection, 6400))
    assert found["b"] / 6400 == pytest.approx(0.9, abs=0.02)


def test_endpoints_of_one_origin_share_their_health() -> None:
    known = healths()
    policy = ResolutionPolicy(("**",))
    for method in ("m", "n"):
        one = Source(RegistrationId("R", "1", "a"), Endpoint(f"http://h.test/{method}"), "")
        selection = compile_selection(Name(f"s/w/{method}"), [one], policy, known)
        selection.targets()
        health = named(selection, "a").health
        assert health.failures == (0 if method == "m" else 1)
        health.failures += 1


# --- order -----------------------------------------------------------------------------------


def tiers() -> Selection:
    sources = [source("a"), source("b"), source("c", "2")]
    choices = [
        Choice(version="1", order=0),
        Choice(version="2", order=1),
        Choice(site="http://other.test", order=2),
    ]
    return select(sources, *choices)


def test_a_higher_order_gets_traffic_only_when_nothing_of_a_lower_one_is_healthy() -> None:
    selection = tiers()
    assert set(picks(selection, 10)) == {"a", "b"}
    named(selection, "a").health.ejected_until = NOW + 5
    assert set(picks(selection, 10)) == {"b"}
    named(selection, "b").health.down = True
    assert set(picks(selection, 10)) == {"c"}
    named(selection, "c").health.down = True
    assert set(picks(selection, 10)) == {"http://other.test"}


def test_a_retry_goes_on_within_the_order_before_it_leaves_it() -> None:
    selection = tiers()
    tried: list[Target] = []
    while (target := selection.pick(NOW, b"", tried)) is not None:
        tried.append(target)
    assert sorted(map(instance, tried[:2])) == ["a", "b"]
    assert list(map(instance, tried[2:])) == ["c", "http://other.test"]


def test_orders_without_endpoints_are_skipped() -> None:
    selection = select([source("b", "2")], Choice(version="1"), Choice(version="2", order=5))
    assert picks(selection, 1) == ["b"]


# --- sticky ----------------------------------------------------------------------------------

KEYS = [b"user:%d" % n for n in range(2000)]


def places(selection: Selection, now: float = NOW) -> dict[bytes, str]:
    return {key: instance(selection.pick(now, key, ())) for key in KEYS}


def test_the_same_key_stays_and_keys_are_spread() -> None:
    selection = select([source(name) for name in "abcd"], sticky="principal")
    found = places(selection)
    assert places(selection) == found
    assert places(select([source(name) for name in "dcba"], sticky="principal")) == found
    assert all(count == pytest.approx(500, rel=0.2) for count in Counter(found.values()).values())


def test_a_new_instance_takes_only_its_share_of_the_keys() -> None:
    before = places(select([source(name) for name in "abcd"]))
    after = places(select([source(name) for name in "abcde"]))
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {"e"}
    assert len(moved) == pytest.approx(400, rel=0.2)


def test_keys_of_an_ejected_instance_spread_and_come_back() -> None:
    selection = select([source(name) for name in "abcd"])
    before = places(selection)
    named(selection, "a").health.ejected_until = NOW + 5
    during = places(selection)
    assert all(during[key] == before[key] for key in KEYS if before[key] != "a")
    spread = Counter(during[key] for key in KEYS if before[key] == "a")
    assert all(spread[name] > 100 for name in "bcd")
    assert places(selection, NOW + 5) == before


def test_sticky_keys_honour_weights_and_order() -> None:
    sources = [source("a"), source("b", "2"), source("c", "3")]
    choices = (Choice(version="1", weight=90), Choice(version="2", weight=10))
    selection = select(sources, *choices, Choice(version="3", order=1))
    assert Counter(places(selection).values())["a"] / len(KEYS) == pytest.approx(0.9, abs=0.03)
    for name in "ab":
        named(selection, name).health.ejected_until = NOW + 5
    assert set(places(selection).values()) == {"c"}


def test_a_sticky_call_that_failed_goes_elsewhere() -> None:
    selection = select([source(name) for name in "ab"])
    first = selection.pick(NOW, b"k", ())
    assert first is not None
    second = selection.pick(NOW, b"k", (first,))
    assert {instance(first), instance(second)} == {"a", "b"}
