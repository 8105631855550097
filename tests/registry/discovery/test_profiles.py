"""Which profiles are looked at for what is wanted."""

from registry.discovery.matching import Taxonomy, Wanted
from registry.discovery.profiles import Profiles
from registry.model import Profile
from registry.names import Name

ABOVE = {"Air": {"Air", "Sensor"}, "Water": {"Water", "Sensor"}}
CLASSES = Taxonomy(lambda term: ABOVE.get(term, {term}))


def candidates(profiles: Profiles, wanted: Wanted) -> list[Name]:
    *steps, found = profiles.candidates(wanted, CLASSES)
    assert not any(steps)
    assert found is not None
    return found


def test_only_members_with_related_outputs_are_candidates() -> None:
    profiles = Profiles()
    air, both, none = Name("s/a/air"), Name("s/a/both"), Name("s/b/none")
    profiles.put(
        Name("s/a"),
        {air: Profile(outputs={"x": "Air"}), both: Profile(outputs={"x": "Air", "y": "Room"})},
    )
    profiles.put(Name("s/b"), {none: Profile()})
    assert candidates(profiles, Wanted()) == [air, both, none]
    assert candidates(profiles, Wanted(outputs={"x": "Water"})) == [air, both]
    assert candidates(profiles, Wanted(outputs={"x": "Sensor", "y": "Room"})) == [both]
    assert candidates(profiles, Wanted(outputs={"x": "Air", "y": "Room"})) == [both]
    assert candidates(profiles, Wanted(outputs={"x": "Other"})) == []
    profiles.put(Name("s/a"), {air: Profile(outputs={"x": "Air"})})
    assert candidates(profiles, Wanted(outputs={"y": "Room"})) == []
    profiles.put(Name("s/a"), {})
    profiles.put(Name("s/b"), {})
    assert candidates(profiles, Wanted()) == []
