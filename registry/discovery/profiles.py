"""The service profiles of members, and which of them may match what is wanted. Pure."""

from collections.abc import Iterator, Mapping

from registry.discovery.matching import Degree, Taxonomy, Wanted, degree_of
from registry.model import Profile
from registry.names import Name


class Profiles:
    """Profiles by the names of the members that have them."""

    def __init__(self) -> None:
        self.of: dict[Name, Profile] = {}
        self._offering: dict[str, set[Name]] = {}
        self._members: dict[Name, tuple[Name, ...]] = {}

    def put(self, obj: Name, profiles: Mapping[Name, Profile]) -> None:
        """Set the profiles of an object's members; with none, forget them."""
        for name in self._members.pop(obj, ()):
            for term in set(self.of.pop(name).outputs.values()):
                names = self._offering[term]
                names.discard(name)
                if not names:
                    del self._offering[term]
        for name, profile in profiles.items():
            self.of[name] = profile
            for term in profile.outputs.values():
                self._offering.setdefault(term, set()).add(name)
        if profiles:
            self._members[obj] = tuple(profiles)

    def candidates(self, wanted: Wanted, classes: Taxonomy) -> Iterator[list[Name] | None]:
        """Yield None after each short step, then the names of all members that may match.

        They are in their order, and few others among them: of the outputs that are wanted the
        one that fewest members offer is looked at.
        """
        best: set[Name] | None = None
        for term in sorted(set(wanted.outputs.values())):
            offering: set[Name] = set()
            for offered, names in list(self._offering.items()):
                if degree_of(offered, term, classes) is not Degree.FAIL:
                    offering |= names
                yield None
            if best is None or len(offering) < len(best):
                best = offering
        yield sorted(self.of if best is None else best)
