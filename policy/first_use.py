"""What a controller is asked at a first use, and what it may answer (S3 III-F).

Both are JSON with a schema. An answer comes from a microservice that may be broken or hostile:
it is small, strictly typed, and anything else is no answer at all.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from policy.access.checks import are_sound
from policy.model import Action, FirstUsePolicy, Obligations, Principal, Value
from registry.documents import InvalidDocument, decode

ANSWER_BYTES: Final = 256 * 1024
"""Bytes of an answer, the policies in it included."""
FIRST_USE: Final = "FirstUsePolicy/"
ENVIRONMENT: Final = "environment."
CLOCK: Final = frozenset({"time", "date", "hour", "minute", "weekday"})
"""What of the environment moves by itself; without ``until`` it is looked at once a minute."""
MINUTE: Final = 60.0

Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=30 * 86_400)]
Read: TypeAlias = Annotated[
    str, Meta(pattern=r"^environment\.[A-Za-z][A-Za-z0-9_.-]{0,63}$(?!\n)", max_length=80)
]


class Covering(NamedTuple):
    """A ``FirstUsePolicy`` and its name."""

    name: str
    policy: FirstUsePolicy

    @property
    def label(self) -> str:
        """The policy as reasons name it."""
        return f"{FIRST_USE}{self.name}"


class FirstUseQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """What a controller is asked. ``owner`` is the name's owner, ``environment`` what holds now."""

    principal: str
    kind: str
    action: Action
    name: str
    owner: str = ""
    attributes: dict[str, str | float | bool | tuple[str, ...]] = {}
    environment: dict[str, str | float | bool | tuple[str, ...]] = {}


class FirstUseAnswer(Struct, frozen=True, forbid_unknown_fields=True):
    """What it answers.

    ``idle`` and ``hard`` (seconds) shorten the policy's, ``until`` is Unix time in seconds.
    ``reads`` are the attributes of the environment that it looked at: it is asked again when one
    of them changes. ``policies`` are manifests to be applied first, with the controller's rights.
    """

    allow: bool
    reason: Annotated[str, Meta(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")] = ""
    idle: Seconds | None = None
    hard: Seconds | None = None
    until: Annotated[float, Meta(ge=0, le=1e11)] | None = None
    reads: Annotated[tuple[Read, ...], Meta(max_length=64)] = ()
    obligations: Obligations | None = None
    policies: Annotated[tuple[dict[str, Any], ...], Meta(max_length=64)] = ()

    @property
    def environment(self) -> frozenset[str]:
        """The attributes of the environment that it read, without ``environment.``."""
        return frozenset(read.removeprefix(ENVIRONMENT) for read in self.reads)

    def seconds(self, policy: FirstUsePolicy, now: float) -> float:
        """How long it holds at most; ``now`` is Unix time in seconds."""
        longest = policy.hard if self.allow else policy.deny
        if self.hard is not None:
            longest = min(longest, self.hard)
        if self.until is not None:
            return min(longest, self.until - now)
        if self.environment & CLOCK:
            return min(longest, MINUTE - now % MINUTE)
        return longest

    def idle_seconds(self, policy: FirstUsePolicy) -> float:
        """How long it holds unused."""
        return policy.idle if self.idle is None else min(policy.idle, self.idle)


class NoAnswer(Exception):
    """The controller did not answer, or not with an answer; the text says why."""


def question_of(
    principal: Principal,
    action: Action,
    name: str,
    owner: str,
    environment: Mapping[str, Value],
) -> FirstUseQuestion:
    """Return the question about a first use."""
    return FirstUseQuestion(
        principal.id,
        principal.kind,
        action,
        name,
        owner,
        dict(principal.attributes),
        dict(environment),
    )


def read_answer(data: bytes) -> FirstUseAnswer:
    """Read a controller's answer; raises NoAnswer for anything else."""
    try:
        answer = decode(data, FirstUseAnswer, limit=ANSWER_BYTES)
    except InvalidDocument as error:
        raise NoAnswer(f"it answered what is no answer: {error}") from error
    if answer.obligations is not None and not are_sound(answer.obligations):
        raise NoAnswer("it answered with obligations that are no answer")
    return answer


def schemas() -> dict[str, Any]:
    """Return the JSON Schemas of the question and the answer."""
    return {
        "question": msgspec.json.schema(FirstUseQuestion),
        "answer": msgspec.json.schema(FirstUseAnswer),
    }
