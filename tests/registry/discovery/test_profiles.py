"""Which profiles are looked at for what is wanted."""

from registry.discovery.matching import Taxonomy, Wanted
from registry.discovery.profiles import Profiles
from registry.model import Profile
from registry.names import Name

ABOVE = {"Air": {"Air", "Sensor"}, "Water": {"Water", "Sensor"}}
CLASSES = Taxonomy(lambda term: ABOVE.get(term, {term}))


def test_only_members_with_related_outputs_are_candidates() -> None:
    profiles = Profiles()
    air, both, none = Name("s/a/air"), Name("s/a/both"), Name("s/b/none")
    profiles.put(
        Name("s/a"),
        {air: Profile(outputs={"x": "Air"}), both: Profile(outputs={"x": "Air", "y": "Room"})},
    )
    profiles.put(Name("s/b"), {none: Profile()})
    assert profiles.candidates(Wanted(), CLASSES) == [air, both, none]
    assert profiles.candidates(Wanted(outputs={"x": "Water"}), CLASSES) == [air, both]
    assert profiles.candidates(Wanted(outputs={"x": "Sensor", "y": "Room"}), CLASSES) == [both]
    assert profiles.candidates(Wanted(outputs={"x": "Air", "y": "Room"}), CLASSES) == [both]
    assert profiles.candidates(Wanted(outputs={"x": "Other"}), CLASSES) == []
    profiles.put(Name("s/a"), {air: Profile(outputs={"x": "Air"})})
    assert profiles.candidates(Wanted(outputs={"y": "Room"}), CLASSES) == []
    profiles.put(Name("s/a"), {})
    profiles.put(Name("s/b"), {})
    assert profiles.candidates(Wanted(), CLASSES) == []
