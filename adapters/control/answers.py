"""The types of what the site's own methods answer, for the OpenAPI document.

Tests read real answers strictly as these types, so that the document stays true.
"""

from typing import Any, Literal

from msgspec import Struct

from policy.language import Manifest


class Answer(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The base: what is not listed is not answered."""


class Problem(Struct, frozen=True, rename="camel"):
    """An error (RFC 9457). There may be further members, such as ``reasons`` or ``problems``."""

    type: str
    title: str
    status: int
    detail: str


class Applied(Answer, frozen=True):
    """What became of one policy."""

    kind: str
    name: str
    revision: int
    result: Literal["created", "replaced", "unchanged"]


class ApplyAnswer(Answer, frozen=True):
    """What was applied, and conflicts that did not prevent it.

    What is not ``durable`` is in force and will be written when the store can: denies only.
    """

    applied: list[Applied]
    conflicts: list[str]
    durable: bool


class PreviewedChange(Answer, frozen=True):
    """What would become of one policy; ``difference`` is lines of text."""

    kind: str
    name: str
    result: Literal["created", "replaced"]
    difference: list[str]


class PreviewAnswer(Answer, frozen=True):
    """What applying would change, conflict with and decide differently."""

    changes: list[PreviewedChange]
    conflicts: list[str]
    decisions: list[str]


class Policies(Answer, frozen=True):
    """Policies as manifests that can be changed and applied again, and whose site's they are."""

    authority: str
    items: list[Manifest]


class PolicyGone(Answer, frozen=True):
    """A policy was deleted."""

    kind: str
    name: str
    deleted: bool


class ReasonAnswer(Answer, frozen=True):
    """A rule that mattered."""

    policy: str
    effect: str
    why: str


class TargetAnswer(Answer, frozen=True):
    """An endpoint that a name resolves to now."""

    target: str
    healthy: bool


class FactAnswer(Answer, frozen=True):
    """An attribute of a name: whose word it is, and whether it counts in decisions."""

    attribute: str
    value: str | float | bool | list[str]
    source: Literal["operator", "registry", "claim"]
    by: str
    counts: bool
    why: str


class Explanation(Answer, frozen=True):
    """A decision with its reasons, the deciding one first."""

    allowed: bool
    reasons: list[ReasonAnswer]
    principal: str
    kind: str
    known_by: str
    attributes: dict[str, str | float | bool | list[str]]
    roles: list[str]
    object_attributes: list[FactAnswer]
    obligations: dict[str, Any]
    registered: bool
    resolves_to: list[TargetAnswer]


class NameAnswer(Answer, frozen=True):
    """A registered name."""

    name: str
    kind: Literal["object", "method", "channel"]
    owner: str
    live: bool


class Names(Answer, frozen=True):
    """A page of names; ``next`` is the ``after`` of the next page, "" for none."""

    items: list[NameAnswer]
    next: str


class Registered(Answer, frozen=True):
    """A registration; ``lease`` in seconds, ``objects`` is their number."""

    microservice: str
    version: str
    instance: str
    owner: str
    live: bool
    lease: int
    objects: int
    description: str


class Registrations(Answer, frozen=True):
    """A page of registrations; ``next`` is the ``after`` of the next page, "" for none."""

    items: list[Registered]
    next: str


class RegistrationAnswer(Answer, frozen=True):
    """What was registered; ``key`` checks that a call comes from this site."""

    id: str
    lease: int
    names: list[str]
    key: str


class Renewal(Answer, frozen=True):
    """A lease that began anew, its period in seconds."""

    id: str
    lease: int


class RegistrationGone(Answer, frozen=True):
    """A registration ended."""

    id: str
    deregistered: bool


class Token(Answer, frozen=True):
    """What is public of a token; times are RFC 3339."""

    id: str
    principal: str
    kind: str
    issued: str
    expires: str
    note: str
    attributes: dict[str, str]


class IssuedToken(Token, frozen=True):
    """A new token: its secret is in this answer and nowhere else."""

    token: str


class Tokens(Answer, frozen=True):
    """Tokens by their public parts."""

    items: list[Token]


class TokensGone(Answer, frozen=True):
    """Tokens that are in force no more; ``durable`` says whether that is written already."""

    revoked: list[str]
    durable: bool


class StoredEventAnswer(Answer, frozen=True):
    """An event; ``time`` is Unix time in milliseconds, ``encoding`` that of a binary payload."""

    id: str
    time: int
    source: str
    content_type: str
    payload: str
    encoding: Literal["", "base64"] = ""


class Events(Answer, frozen=True):
    """A stretch of a channel, oldest first."""

    items: list[StoredEventAnswer]


class DeadLetterAnswer(Answer, frozen=True):
    """An event whose delivery to a bound method was given up."""

    id: int
    binding: str
    channel: str
    event: str
    time: int
    attempts: int
    error: str
    content_type: str
    payload: str
    encoding: Literal["", "base64"] = ""


class DeadLetters(Answer, frozen=True):
    """A page of dead letters; the last ``id`` is the ``after`` of the next page."""

    items: list[DeadLetterAnswer]


class LetterDelivered(Answer, frozen=True):
    """A dead letter was delivered after all."""

    id: int
    delivered: bool


class LetterGone(Answer, frozen=True):
    """A dead letter was deleted."""

    id: int
    deleted: bool


Described = dict[str, Any]
"""A description: its members depend on what it describes."""
