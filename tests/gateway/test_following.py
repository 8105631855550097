"""Following another site's directory: what it may tell, and what happens when it is silent."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.directory.following import RESYNC_SECONDS, Following, State, Times
from gateway.web import Answer, FetchError
from registry.names import Name

LAMP = Name("b.example/lamp")
DOOR = Name("b.example/door")


def item(name: str, **more: Any) -> dict[str, Any]:
    view = {"id": f"urn:hilum:{name}", "title": "a thing"}
    return {"id": view["id"], "name": name, "object": {"name": name}, "view": view, **more}


class Web:
    """The other site: answers in turn what a test says."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []

    async def get(self, url: str) -> bytes:
        raise AssertionError(url)

    async def ask(self, verb: str, url: str, headers: Any, body: bytes = b"") -> Answer:
        assert (verb, url) == ("POST", "https://b.example/$site/registry/share")
        self.asked.append(json.loads(body))
        self.headers.append(dict(headers))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, bytes):
            return Answer(200, answer)
        if isinstance(answer, int):
            return Answer(answer, b"")
        return Answer(200, json.dumps({"position": "1", "items": [], **answer}).encode())


class World:
    def __init__(self) -> None:
        self.now = 1000.0
        self.web = Web()
        self.told: list[tuple[str, bool]] = []
        self.following = Following(
            "b.example",
            "https://b.example/",
            self.web,
            lambda: "Bearer x",
            lambda: self.now,
            Times(stale=30, forget=300),
        )
        self.following.changed.append(lambda name, entry: self.told.append((name, bool(entry))))

    def step(self, *answers: Any) -> bool:
        self.web.answers += answers
        more = asyncio.run(self.following.step())
        assert not self.web.answers
        return more

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.following.look()


@pytest.fixture
def world() -> World:
    return World()


def test_everything_is_read_by_pages_then_changes_after_the_first_position(world):
    world.step(
        {"items": [item(DOOR)], "position": "7", "start": "urn:hilum:b.example/door"},
        {"items": [item(LAMP)], "position": "9"},
    )
    assert set(world.following.entries) == {DOOR, LAMP}
    assert world.following.state is State.CURRENT
    assert not world.step({"position": "7"})
    assert world.step({"items": [item(LAMP, view={"title": "new"})], "position": "10"})
    assert world.following.entries[LAMP].view == {"title": "new"}
    world.step({"items": [{"id": "urn:hilum:b.example/door", "name": DOOR, "gone": True}]})
    assert set(world.following.entries) == {LAMP}
    assert world.web.asked[1:] == [
        {"start": "urn:hilum:b.example/door"},
        {"after": "7"},
        {"after": "7"},
        {"after": "10"},
    ]
    assert world.web.headers[0]["Authorization"] == "Bearer x"
    assert world.told == [(DOOR, True), (LAMP, True), (LAMP, True), (DOOR, False)]


def test_what_is_not_allowed_any_more_goes_at_the_next_reading(world):
    world.step({"items": [item(DOOR), item(LAMP)]})
    world.now += RESYNC_SECONDS
    world.step({"items": [item(LAMP)]})
    assert set(world.following.entries) == {LAMP}


def test_lost_changes_mean_everything_is_read_again(world):
    world.step({"items": [item(DOOR)]})
    world.step({"missed": True, "position": "99"}, {"items": [item(LAMP)], "position": "99"})
    assert set(world.following.entries) == {LAMP}


def test_a_silent_site_is_stale_then_forgotten_then_back(world):
    world.step({"items": [item(LAMP)]})
    world.later(29)
    assert world.following.state is State.CURRENT
    world.later(1)
    assert world.following.state is State.STALE
    assert set(world.following.entries) == {LAMP}
    world.later(270)
    assert world.following.state is State.UNKNOWN
    assert world.told[-1] == (LAMP, False)
    world.step({"items": [item(LAMP)]})
    assert world.following.state is State.CURRENT


@pytest.mark.parametrize(
    "name",
    [
        "a.example/lamp",
        "b.example.evil/lamp",
        "B.example/lamp",
        "lamp",
        "b.example/$site/registry",
        "b.example/a/../lamp",
        "b.example",
        "",
    ],
)
def test_a_site_speaks_of_its_own_names_only(world, name):
    world.step({"items": [item(name), item(LAMP)]})
    assert set(world.following.entries) == {LAMP}
    assert world.following.refused == 1


def test_an_entry_offers_what_it_is_named_after(world):
    world.step({"items": [item(LAMP, object={"name": "a.example/door"}), item(DOOR, object=None)]})
    assert not world.following.entries
    assert world.following.refused == 2


def test_nobody_is_told_gone_by_another_name(world):
    world.step({"items": [item(LAMP)]})
    world.step({"items": [{"id": item(LAMP)["id"], "name": DOOR, "gone": True}]})
    assert set(world.following.entries) == {LAMP}


@pytest.mark.parametrize(
    "answer",
    [
        FetchError("down"),
        500,
        b"",
        b"[]",
        b"{" * 100_000,
        b'{"items": [{"id": 1}], "position": "1"}',
        b'{"items": [], "position": null}',
    ],
)
def test_what_is_no_page_changes_nothing(world, answer):
    world.step({"items": [item(LAMP)]})
    with pytest.raises(FetchError):
        world.step(answer)
    assert set(world.following.entries) == {LAMP}


def test_a_listing_in_a_circle_ends(world):
    page = {"items": [item(LAMP)], "start": "urn:x"}
    with pytest.raises(FetchError, match="listed before"):
        world.step(page, page)


async def test_it_goes_on_after_failures():
    world = World()
    waits: list[float] = []
    world.web.answers = [FetchError("down"), FetchError("down"), {"items": [item(LAMP)]}]

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if not world.web.answers:
            raise asyncio.CancelledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gateway.directory.following.asyncio.sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await world.following.run()
    assert waits == [2.0, 4.0, 1.0]
    assert world.following.problem == ""


pages = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["items", "position", "start", "missed", "id", "name", "object", "gone"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(st.binary(max_size=60) | pages.map(lambda p: json.dumps(p).encode()), max_size=4))
@settings(deadline=None)
def test_whatever_the_other_site_says_the_follower_holds_together(answers):
    world = World()
    world.web.answers = [*answers, *[b"{}"] * 3]
    for _ in range(3):
        try:
            asyncio.run(world.following.step())
        except FetchError:
            continue
    assert all(name.startswith("b.example/") for name in world.following.entries)
