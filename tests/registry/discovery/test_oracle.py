"""Discovery over random registries and ontologies, beside following every edge naively."""

from hypothesis import given
from hypothesis import strategies as st

from registry.discovery.postings import Postings, Question
from registry.discovery.reading import Reader
from registry.index.index import Index
from registry.index.triples import Offered
from registry.model import Endpoint, EventChannel, Method, Profile, VirtualObject
from registry.names import Name

LETTERS = "abcdef"
edges = st.lists(st.tuples(st.sampled_from(LETTERS), st.sampled_from(LETTERS)), max_size=8)
terms = st.sampled_from(["", *LETTERS])
protocols = st.sampled_from(["", "http", "coap"])


def iri(letter: str) -> str:
    return f"urn:x:{letter}" if letter else ""


def profile(category: str) -> Profile:
    return Profile(category=iri(category))


methods = st.builds(
    lambda type_, category, scheme: Method(
        types=(iri(type_),) if type_ else (),
        profile=profile(category),
        endpoints=(Endpoint(f"{scheme}://h.test/"),) if scheme else (),
    ),
    terms,
    terms,
    protocols,
)
channels = st.builds(lambda type_: EventChannel(types=(iri(type_),) if type_ else ()), terms)
registries = st.lists(
    st.tuples(terms, terms, st.lists(methods, max_size=2), st.lists(channels, max_size=1)),
    max_size=5,
)


def reached(start: str, pairs: list[tuple[str, str]]) -> set[str]:
    """What is above a term, by walking until nothing is new."""
    found = {start} - {""}
    while fresh := {up for low, up in pairs if low in found} - found:
        found |= fresh
    return {iri(each) for each in found}


def short(terms_: tuple[str, ...]) -> str:
    return terms_[0].removeprefix("urn:x:") if terms_ else ""


@given(edges, edges, registries, st.tuples(terms, terms, terms, protocols))
def test_what_is_found_is_what_walking_all_edges_finds(
    classes: list[tuple[str, str]],
    parts: list[tuple[str, str]],
    registry: list[tuple[str, str, list[Method], list[EventChannel]]],
    asked: tuple[str, str, str, str],
) -> None:
    lines = [
        f"<{iri(a)}> <http://www.w3.org/2000/01/rdf-schema#subClassOf> <{iri(b)}> ."
        for a, b in classes
    ]
    lines += [f"<{iri(a)}> <https://w3id.org/hilum#partOf> <{iri(b)}> ." for a, b in parts]
    index = Index({"model": "\n".join(lines)})
    reader, postings = Reader(index.closure), Postings()
    type_, place, capability, protocol = asked
    expected = {}
    for number, (own, where, some, events) in enumerate(registry):
        name = Name(f"s/o{number}")
        obj = VirtualObject(
            name,
            methods={f"m{n}": method for n, method in enumerate(some)},
            channels={f"c{n}": channel for n, channel in enumerate(events)},
            types=(iri(own),) if own else (),
            place=iri(where),
        )
        done = index.put(Offered(name, obj))
        assert done is not None
        postings.put(reader.read(name, index.subject_of(name) or "", done[1]))
        if place and iri(place) not in reached(where, parts):
            continue
        is_it = not type_ or iri(type_) in reached(own, classes)
        fitting = set()
        for member, definition in obj.members():
            its = reached(short(definition.types), classes)
            does = set(its)
            if definition.profile is not None:
                does |= reached(short((definition.profile.category,)), classes)
            speaks = (
                "coap" if "coap" in str(definition) else "http" if "http" in str(definition) else ""
            )
            if (
                (is_it or iri(type_) in its)
                and (not capability or iri(capability) in does)
                and (not protocol or protocol == speaks)
            ):
                fitting.add(member)
        if fitting or (is_it and not capability and not protocol):
            expected[name] = fitting
    question = Question(iri(type_), iri(place), iri(capability), protocol)
    found = {}
    for name in postings.look(question.keys(), (), "", 100).found:
        obj_ = postings.objects[name]
        members = {member.name for member in question.members(obj_)}
        if members or not question.needs_member(obj_):
            found[name] = members
    assert found == expected
