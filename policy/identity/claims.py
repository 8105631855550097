"""From the claims of a verified token to a Principal (RFC 7519 section 4.1, RFC 9068). Pure.

An id is ``realm:subject``, and each issuer has a realm of its own: one ``sub`` of two issuers is
two principals. What becomes a kind, a role or an attribute is what the operator listed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from policy.identity.jwt import BadToken
from policy.identity.tokens import is_kind, is_principal
from policy.model import Principal, Value

ROLES: Final = 64
VALUES: Final = 64
"""Entries of a list that becomes an attribute."""
TEXT: Final = 1024
"""Characters of one value."""
AUDIENCES: Final = 64
LIFETIME: Final = 366 * 86_400.0
"""Seconds that a token counts at most, whatever it says."""

_SPECIAL = re.compile(r'[\x00-\x20"*\\%\x7f-\U0010ffff]')


@dataclass(frozen=True, slots=True)
class Expected:
    """What an operator says of an issuer. ``leeway``: seconds that clocks may differ.

    Claims are members of the payload, or JSON Pointers into it (RFC 6901) when they begin with /.
    """

    url: str
    realm: str
    audience: frozenset[str]
    algorithms: frozenset[str]
    leeway: float = 30.0
    kind: str = "user"
    kind_claim: str = ""
    kinds: frozenset[str] = frozenset()
    """Kinds that ``kind_claim`` may say."""
    roles_claim: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Claim by attribute."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A principal and when its token was issued (Unix seconds; 0: it does not say)."""

    principal: Principal
    issued: float


def principal_of(
    claims: Mapping[str, object], expected: Expected, now: float, credential: str
) -> Verified:
    """Return who a verified token stands for at ``now`` (Unix seconds); raises BadToken."""
    if claims.get("iss") != expected.url:
        raise BadToken("its issuer (iss) is another one")
    _check_audience(claims.get("aud"), expected)
    expires = _moment(claims, "exp")
    if expires is None:
        raise BadToken("it does not say when it expires (exp)")
    if now >= expires + expected.leeway:
        raise BadToken("it has expired (exp)")
    begins, issued = _moment(claims, "nbf"), _moment(claims, "iat")
    if begins is not None and now < begins - expected.leeway:
        raise BadToken("it is not valid yet (nbf)")
    if issued is not None and now < issued - expected.leeway:
        raise BadToken("it was issued in the future (iat)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise BadToken("it does not say whose it is (sub)")
    principal = Principal(
        _id(expected.realm, subject),
        _kind(claims, expected),
        method="jwt",
        credential=credential,
        expires=min(expires + expected.leeway, now + LIFETIME),
        attributes=_attributes(claims, expected),
    )
    return Verified(principal, issued or 0.0)


def _id(realm: str, subject: str) -> str:
    """Return ``realm:subject``; what an id cannot hold is percent-encoded, so none collide."""
    encoded = _SPECIAL.sub(lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), subject)
    if not is_principal(found := f"{realm}:{encoded}"):
        raise BadToken("its subject (sub) is too long to be a principal's")
    return found


def _check_audience(audience: object, expected: Expected) -> None:
    found = audience if isinstance(audience, list) else [audience]
    if len(found) > AUDIENCES or not any(isinstance(one, str) for one in found):
        raise BadToken("it does not say for whom it is (aud)")
    if not any(isinstance(one, str) and one in expected.audience for one in found):
        raise BadToken("it is for somebody else (aud)")


def _moment(claims: Mapping[str, object], name: str) -> float | None:
    """Return a NumericDate (RFC 7519 section 2)."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise BadToken(f"its {name} is no time in seconds")
    return float(value)


def _claim(claims: Mapping[str, object], where: str) -> object:
    if not where.startswith("/"):
        return claims.get(where)
    found: object = claims
    for step in where[1:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _kind(claims: Mapping[str, object], expected: Expected) -> str:
    said = _claim(claims, expected.kind_claim) if expected.kind_claim else None
    if said is None:
        return expected.kind
    if not isinstance(said, str) or said not in expected.kinds or not is_kind(said):
        raise BadToken(f"its {expected.kind_claim} is no kind that this issuer may say")
    return said


def _attributes(claims: Mapping[str, object], expected: Expected) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for attribute, claim in expected.attributes.items():
        value = _claim(claims, claim)
        if value is not None:
            found[attribute] = _value(claim, value)
    if expected.roles_claim:
        roles = _roles(_claim(claims, expected.roles_claim), expected.roles_claim)
        if roles:
            found["roles"] = roles
    return found


def _roles(said: object, claim: str) -> tuple[str, ...]:
    """Return roles from a list, or from words as in ``scope`` (RFC 8693 section 4.2)."""
    roles = said.split() if isinstance(said, str) else said
    if roles is None:
        return ()
    if not isinstance(roles, list) or len(roles) > ROLES:
        raise BadToken(f"its {claim} is no list of at most {ROLES} roles")
    return tuple(dict.fromkeys(_text(claim, role) for role in roles))


def _value(claim: str, value: object) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        if abs(value) > 1e300:
            raise BadToken(f"its {claim} is too large a number")
        return float(value)
    if isinstance(value, list):
        if len(value) > VALUES:
            raise BadToken(f"its {claim} has more than {VALUES} entries")
        return tuple(_text(claim, one) for one in value)
    return _text(claim, value)


def _text(claim: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT or not value.isprintable():
        raise BadToken(f"its {claim} is no printable text of at most {TEXT} characters")
    return value
