"""``$site/registry/discover`` and ``match``: finding by meaning (design 8).

Whoever asks finds only what policy lets it describe, and pages are full all the same.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final, TypeAlias

from msgspec import Meta, field

from gateway.directory.finding import Facts, Finding
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, answer, read
from gateway.objects.discovery_search import Search, Turns, read_cursor
from gateway.objects.local import Handler, Result
from gateway.site import Site
from gateway.view import Route
from policy.model import Action
from registry.discovery.matching import Degree, Match, Pair, Wanted, match, order_of
from registry.discovery.postings import Question
from registry.discovery.rings import EVERYWHERE, Ring, around, by_distance
from registry.discovery.vocabulary import UnknownTerm, coordinates
from registry.model import Profile, ServiceLevel
from registry.names import Name, parent
from registry.terms import compact

PAGE: Final = 1000
"""Most entries of one answer."""
Text: TypeAlias = Annotated[str, Meta(max_length=1024)]
Texts: TypeAlias = Annotated[tuple[Text, ...], Meta(max_length=32)]
Parameters: TypeAlias = Annotated[dict[Text, Text], Meta(max_length=32)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0, le=86_400_000)]
Limit: TypeAlias = Annotated[int, Meta(ge=1, le=1 << 31)]

MOST_NOTES: Final = 3
"""Looking for what is spelled alike takes its time."""
PROTOCOLS: Final = ("http", "mqtt", "coap")
_POINT: Final = re.compile(r"\s*[+-]?[0-9.]+\s*,\s*[+-]?[0-9.]+\s*")
BY_NAME: Final = "by name"
BY_STEPS: Final = "by how many steps up in the hierarchy of places both are in one, then by name"
BY_METRES: Final = "by metres to the nearest place with coordinates that contains it, then by name"
BY_DEGREE: Final = "by degree, then by declared latency and availability, then by name"


class Discover(Request, frozen=True):
    """What is looked for; terms are IRIs, prefixed names, or labels of the site's ontologies."""

    type: Text = ""
    place: Text = ""
    capability: Text = ""
    protocol: Annotated[str, Meta(max_length=32)] = ""
    near: Text = ""
    max_latency_ms: Milliseconds = 0
    limit: Limit = 50
    cursor: Annotated[str, Meta(max_length=8192)] = ""


class Matching(Request, frozen=True):
    """What a caller can give and wants; below the degree ``least`` nothing counts.

    ``preconditions`` are what it says holds already.
    """

    inputs: Parameters = field(default_factory=dict)
    outputs: Parameters = field(default_factory=dict)
    preconditions: Texts = ()
    effects: Texts = ()
    category: Text = ""
    max_latency_ms: Milliseconds = 0
    min_availability: Annotated[float, Meta(ge=0, le=1)] = 0
    min_rate: Annotated[float, Meta(ge=0, le=1e9)] = 0
    least: str = "sibling"
    limit: Limit = 50


class DiscoveryObject:
    """The handlers."""

    def __init__(self, site: Site, finding: Finding) -> None:
        self._site = site
        self._finding = finding

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"discover": self.discover, "match": self.match}

    async def discover(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return a page of objects that have what is asked for, with the members that do."""
        asked = await read(call, payload, Discover)
        facts = self._facts()
        question = Question(
            _term(facts, "type", asked.type),
            _term(facts, "place", asked.place),
            _term(facts, "capability", asked.capability),
            asked.protocol.strip().lower(),
        )
        rings, ranking = _rings(facts, asked.near.strip())
        whole = (*question, asked.near, asked.max_latency_ms)
        cursor = read_cursor(asked.cursor, whole)
        search = Search(
            self._site,
            self._finding.latencies,
            facts,
            call.principal,
            question,
            asked.max_latency_ms,
        )
        items, following = await search.page(rings, cursor, min(asked.limit, PAGE))
        found = bool(items or cursor)
        terms = zip(("type", "place", "capability"), question, strict=False)
        return answer(
            {
                "items": items,
                "next": "" if following is None else following.text(whole),
                "asked": {k: compact(v) for k, v in question._asdict().items() if v},
                "ranking": ranking,
                "notes": [] if found else _notes(facts, terms, question.protocol),
            }
        )

    async def match(self, call: Call, _: Route, payload: bytes) -> Result:
        """Return the members whose profiles fit what is wanted, the best first."""
        asked = await read(call, payload, Matching)
        facts = self._facts()
        wanted = _wanted(facts, asked)
        turns = Turns()
        candidates: list[Name] = []
        for step in facts.profiles.candidates(wanted, facts.classes):
            candidates = step or candidates
            await turns.pause()
        found = []
        for name in candidates:
            await turns.pause()
            profile = facts.profiles.of.get(name)
            if profile is not None and self._may_see(call, name):
                fits = match(profile, wanted, facts.classes)
                if fits is not None:
                    found.append((order_of(fits, profile.level, name), fits, profile))
        found.sort(key=lambda each: each[0])
        page = found[: min(asked.limit, PAGE)]
        items = [_matched(key[-1], fits, profile) for key, fits, profile in page]
        terms = [("class", term) for term in (*wanted.outputs.values(), *wanted.inputs.values())]
        notes = [] if found else _notes(facts, [*terms, ("category", wanted.category)])
        ranking = {"ranking": BY_DEGREE, "notes": notes}
        return answer({"items": items, "total": len(found), **ranking})

    def _may_see(self, call: Call, name: Name) -> bool:
        """A member is found by who may describe it and its object."""
        obj = parent(name)
        allowed = self._site.allowed
        return all(
            each is not None and allowed(call.principal, Action.DESCRIBE, each)
            for each in (obj, name)
        )

    def _facts(self) -> Facts:
        facts = self._finding.facts
        if facts is None:
            detail = "the index of what is registered is still being built"
            raise Refusal(Status.UNAVAILABLE, detail, retry_after=1)
        return facts


def _term(facts: Facts, parameter: str, text: str) -> str:
    """Return the IRI that is meant, "" for nothing; raises Refusal with what it may mean."""
    if not text.strip():
        return ""
    try:
        return facts.vocabulary.term(text.strip())
    except UnknownTerm as error:
        hint = f"; near: {', '.join(error.candidates)}" if error.candidates else ""
        detail = f"{parameter}: {error}{hint}"
        extra: dict[str, object] = {"parameter": parameter, "candidates": error.candidates}
        raise Refusal(Status.BAD_REQUEST, detail, extra=extra) from None


def _rings(facts: Facts, near: str) -> tuple[list[Ring], str]:
    """Return the rings around what is given as near, and how they order what is found."""
    if not near:
        return list(EVERYWHERE), BY_NAME
    point = coordinates(near)
    if point is None and _POINT.fullmatch(near):
        detail = "near: latitude,longitude is from -90 to 90 and from -180 to 180 degrees"
        raise Refusal(Status.BAD_REQUEST, detail)
    if point is None:
        return around(_term(facts, "near", near), facts.places.parents), BY_STEPS
    return list(by_distance(facts.vocabulary.by_distance(point), facts.located)), BY_METRES


def _notes(facts: Facts, terms: Iterable[tuple[str, str]], protocol: str = "") -> list[str]:
    """Say of terms that no ontology speaks of, by parameter, why nothing may have been found."""
    notes: list[str] = []
    for parameter, term in terms:
        if term and len(notes) < MOST_NOTES and not facts.closure.speaks_of(term):
            alike = facts.vocabulary.alike(compact(term))
            hint = f"; near: {', '.join(alike)}" if alike else ""
            notes.append(f"no loaded ontology speaks of the {parameter} {compact(term)}{hint}")
    if protocol and protocol not in PROTOCOLS:
        notes.append(f"endpoints speak {', '.join(PROTOCOLS)}, not {protocol}")
    return notes


def _wanted(facts: Facts, asked: Matching) -> Wanted:
    """Return what is wanted, in IRIs. Raises Refusal."""
    words = {degree.word: degree for degree in Degree if degree is not Degree.FAIL}
    if asked.least not in words:
        detail = f"least: {asked.least[:40]!r} is none of {', '.join(words)}"
        raise Refusal(Status.BAD_REQUEST, detail)
    return Wanted(
        {name: _term(facts, f"inputs.{name}", text) for name, text in asked.inputs.items()},
        {name: _term(facts, f"outputs.{name}", text) for name, text in asked.outputs.items()},
        tuple(_term(facts, "preconditions", text) for text in asked.preconditions),
        tuple(_term(facts, "effects", text) for text in asked.effects),
        _term(facts, "category", asked.category),
        ServiceLevel(asked.max_latency_ms, asked.min_availability, asked.min_rate),
        words[asked.least],
    )


def _matched(name: str, fits: Match, profile: Profile) -> dict[str, Any]:
    def pairs(of: tuple[Pair, ...], needed: str, there: str) -> list[dict[str, str]]:
        return [{needed: p.needed, there: p.there, "degree": p.degree.word} for p in of]

    level = profile.level
    promised = {
        "latencyMs": level.latency,
        "availability": level.availability,
        "rate": level.rate,
    }
    return {
        "name": name,
        "degree": fits.degree.word,
        **({"category": compact(profile.category)} if profile.category else {}),
        "outputs": pairs(fits.outputs, "wanted", "offered"),
        "inputs": pairs(fits.inputs, "required", "given"),
        "declared": {key: number for key, number in promised.items() if number},
    }
