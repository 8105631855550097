"""The join of terms: beside looking at every object, while objects come, change and go."""

from hypothesis import given
from hypothesis import strategies as st

from registry.discovery.postings import PLACE, Member, Object, Postings, Question
from registry.names import Name

TERMS = st.sampled_from(["", "a", "b", "c"])
SOME = st.frozensets(st.sampled_from("abc"), max_size=2)
members = st.builds(
    Member,
    st.sampled_from(["s/o/m", "s/o/n"]).map(Name),
    st.booleans(),
    classes=SOME,
    capabilities=SOME,
    protocols=SOME,
)
objects = st.builds(
    Object,
    st.sampled_from([Name(f"s/{letter}") for letter in "pqrstu"]),
    classes=SOME,
    within=SOME,
    members=st.lists(members, max_size=2).map(tuple),
)
questions = st.builds(Question, TERMS, TERMS, TERMS, TERMS)


def found(obj: Object, asked: Question) -> bool:
    """The meaning, naively."""
    if asked.place and asked.place not in obj.within:
        return False
    fitting = [
        m
        for m in obj.members
        if (not asked.type or asked.type in m.classes | obj.classes)
        and (not asked.capability or asked.capability in m.capabilities)
        and (not asked.protocol or asked.protocol in m.protocols)
    ]
    by_itself = not asked.capability and not asked.protocol
    return bool(fitting) or (by_itself and (not asked.type or asked.type in obj.classes))


def pages(postings: Postings, asked: Question, most: int, without: str = "") -> list[str]:
    names: list[str] = []
    after = ""
    while True:
        keys = [(PLACE, without)] if without else []
        window = postings.look(asked.keys(), keys, after, most)
        for name in window.found:
            obj = postings.objects[name]
            if asked.members(obj) or not asked.needs_member(obj):
                names.append(name)
        after = window.after
        if not after:
            return names


@given(
    st.lists(st.tuples(objects, st.booleans(), st.booleans()), max_size=12),
    questions,
    st.integers(1, 4),
    TERMS,
)
def test_pages_agree_with_looking_at_every_object(
    changes: list[tuple[Object, bool, bool]], asked: Question, most: int, without: str
) -> None:
    postings = Postings()
    there: dict[str, Object] = {}
    for obj, comes, looked in changes:
        if comes:
            postings.put(obj)
            there[obj.name] = obj
        else:
            postings.remove(obj.name)
            there.pop(obj.name, None)
        if looked:  # orders are put right in between, or all at once
            for _ in postings.settle():
                pass
    expected = sorted(
        name
        for name, obj in there.items()
        if found(obj, asked) and (not without or without not in obj.within)
    )
    assert pages(postings, asked, most, without) == expected
    for term in "abc":
        count = sum(term in obj.within for obj in there.values())
        assert postings.having((PLACE, term)) == count
        assert postings.has((PLACE, term)) is (count > 0)


def test_pages_go_on_where_they_ended_while_objects_come_and_go() -> None:
    postings = Postings()
    for letter in "bdfh":
        postings.put(Object(Name(f"s/{letter}")))
    first = postings.look((), (), "", 2)
    assert (first.found, first.after) == (["s/b", "s/d"], "s/d")
    postings.remove("s/d")
    postings.put(Object(Name("s/a")))
    postings.put(Object(Name("s/e")))
    unknown = [(PLACE, "nowhere")]
    assert postings.look((), unknown, first.after, 9).found == ["s/e", "s/f", "s/h"]
    assert postings.look(unknown, (), "", 9) == ([], "")


def test_an_object_may_be_found_by_itself_or_by_its_members_alone() -> None:
    member = Member(Name("s/o/m"), True, classes=frozenset("b"), protocols=frozenset({"http"}))
    obj = Object(Name("s/o"), classes=frozenset("a"), members=(member,))
    assert not Question(type="a").needs_member(obj)
    assert Question(type="a").members(obj) == [member]  # what an object is counts for members
    assert Question(type="b").needs_member(obj)
    assert Question(type="b").members(obj) == [member]
    assert Question(type="a", protocol="http").needs_member(obj)
    assert Question(type="a", protocol="mqtt").members(obj) == []
    assert Question(type="a", capability="b").members(obj) == []
