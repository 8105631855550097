"""JSON Web Tokens of other issuers (RFC 7519, RFC 8725): the only file that imports joserfc.

Nothing that a token says chooses how it is checked: the issuer is one that the operator named, the
algorithm must be on that issuer's list and fit the type of the key, and keys are only those that
the issuer publishes. ``jku``, ``x5u``, ``jwk`` and ``x5c`` are never looked at.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from registry import json_text
from registry.problems import InvalidDocument

TOKEN_BYTES: Final = 8 * 1024
"""Bytes of the longest token that is looked at."""
KEYS_BYTES: Final = 256 * 1024
"""Bytes of the longest key set that is looked at."""
KEYS: Final = 64
"""Keys that are taken from one set."""
DEFAULT_ALGORITHMS: Final = ("RS256", "PS256", "ES256", "EdDSA")
ALGORITHMS: Final = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
    | {"EdDSA", "Ed25519"}
)
"""What an operator may allow: signatures with public keys only (RFC 7518, RFC 9864)."""
TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"})
"""``typ`` of tokens that are meant for a resource server (RFC 8725 section 3.11, RFC 9068)."""
RSA_BITS: Final = range(2048, 8193)
EXPONENT_BITS: Final = 32
"""A longer one only makes the check slow."""
KID_CHARACTERS: Final = 256

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_EC: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_RSA: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_ED: Final = frozenset({"EdDSA", "Ed25519"})


class BadToken(Exception):
    """A token is not valid here; the text says why, without repeating the token."""


class BadKeys(Exception):
    """What should be a key set is none; the text says why."""


class Header(msgspec.Struct, frozen=True):
    """What matters of a token's header (RFC 7515 section 4.1)."""

    alg: str
    kid: str = ""
    typ: str = ""
    crit: object = None
    b64: object = None


class Unverified(NamedTuple):
    """A token whose text is in order; nobody has looked at its signature."""

    header: Header
    claims: dict[str, object]
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        """The issuer that it says it is from, "" without one."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


class VerificationKey(NamedTuple):
    """A public key of an issuer and the algorithms that may be used with it."""

    kid: str
    algorithms: frozenset[str]
    key: Key


class _Jwk(msgspec.Struct, frozen=True):
    kty: str = ""
    kid: str = ""
    use: str = "sig"
    alg: str = ""
    key_ops: tuple[str, ...] = ("verify",)
    d: str = ""


class _Jwks(msgspec.Struct, frozen=True):
    keys: list[dict[str, object]]


def looks_like(text: str) -> bool:
    """Whether a secret is meant as a JSON Web Token: three parts, of which the first is JSON."""
    return len(text) <= TOKEN_BYTES and text.startswith("ey") and text.count(".") == 2


def read(text: str) -> Unverified:
    """Take a token apart (RFC 7515 section 7.1); raises BadToken."""
    if len(text) > TOKEN_BYTES:
        raise BadToken(f"a token has at most {TOKEN_BYTES} bytes")
    match = _COMPACT.fullmatch(text)
    if match is None:
        raise BadToken("it is no signed token of three base64url parts")
    head = _strict(_decoded(match[1], "header"), "header")
    try:
        header = msgspec.convert(head, Header)
    except msgspec.ValidationError as error:
        raise BadToken(f"its header is not valid: {error}") from None
    claims = _strict(_decoded(match[2], "payload"), "payload")
    if header.crit is not None or header.b64 is not None:
        raise BadToken("its header asks for extensions (crit, b64) that are not understood here")
    if header.typ.lower() not in TYPES:
        raise BadToken("its typ says that it is no access token")
    if len(header.kid) > KID_CHARACTERS:
        raise BadToken("its kid is too long")
    signed = f"{match[1]}.{match[2]}".encode()
    return Unverified(header, claims, signed, _decoded(match[3], "signature"))


def read_keys(data: bytes) -> tuple[VerificationKey, ...]:
    """Read a JSON Web Key Set (RFC 7517 section 5); raises BadKeys.

    Keys that are not for checking signatures with a public key are left out: symmetric and private
    ones, weak ones, those of types that are not known.
    """
    if len(data) > KEYS_BYTES:
        raise BadKeys(f"a key set has at most {KEYS_BYTES} bytes")
    try:
        document = msgspec.convert(_strict(data, "key set"), _Jwks)
    except (BadToken, msgspec.ValidationError) as error:
        raise BadKeys(f"it is no JSON Web Key Set: {error}") from None
    keys = [key for key in map(_key, document.keys[:KEYS]) if key is not None]
    if not keys:
        raise BadKeys("there is no public key for signatures in it")
    return tuple(keys)


def fitting(keys: Iterable[VerificationKey], header: Header) -> list[VerificationKey]:
    """Return the keys that a token may be signed with: by ``kid``, or all without one."""
    return [
        key
        for key in keys
        if (not header.kid or key.kid == header.kid) and header.alg in key.algorithms
    ]


def verify(token: Unverified, keys: Iterable[VerificationKey]) -> bool:
    """Whether one of some keys, at most four, made the signature."""
    name = "Ed25519" if token.header.alg == "EdDSA" else token.header.alg
    algorithm = JWSRegistry.algorithms[name]
    for found, _ in zip(fitting(keys, token.header), range(4), strict=False):
        try:
            if algorithm.verify(token.signed, token.signature, found.key):
                return True
        except Exception:  # noqa: S112 (whatever a library thinks of bytes from outside)
            continue
    return False


def encode_part(data: bytes) -> str:
    """Return bytes as base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str, part: str) -> bytes:
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (NoBase64, ValueError):
        raise BadToken(f"its {part} is not base64url") from None
    if encode_part(data) != text:  # a second spelling of a token would be a second token
        raise BadToken(f"its {part} is not base64url in the one way that is allowed")
    return data


def _strict(data: bytes, part: str) -> dict[str, object]:
    """Read a JSON object in which every member occurs once."""
    try:
        text = data.decode()
        json_text.check(text)
        found = msgspec.json.decode(text)
    except UnicodeDecodeError:
        raise BadToken(f"its {part} is not UTF-8") from None
    except (InvalidDocument, msgspec.DecodeError, RecursionError):
        raise BadToken(f"its {part} is not JSON with members that occur once") from None
    if not isinstance(found, dict):
        raise BadToken(f"its {part} is no JSON object")
    return found


def _key(members: dict[str, object]) -> VerificationKey | None:
    """Return a key that can be used, None for any other."""
    try:
        jwk = msgspec.convert(members, _Jwk)
    except msgspec.ValidationError:
        return None
    unusable = jwk.d or jwk.use != "sig" or "verify" not in jwk.key_ops
    if unusable or len(jwk.kid) > KID_CHARACTERS or jwk.kty not in ("RSA", "EC", "OKP"):
        return None
    if jwk.kty == "RSA" and not _sane_modulus(members):
        return None
    wanted = {name: members[name] for name in ("kty", "n", "e", "crv", "x", "y") if name in members}
    try:
        key = JWKRegistry.import_key(wanted)  # type: ignore[arg-type]
        algorithms = _algorithms_of(key)
    except Exception:  # whatever a library thinks of bytes from outside
        return None
    if jwk.alg:
        same = _ED if jwk.alg in _ED else frozenset({jwk.alg})
        algorithms &= same
    return VerificationKey(jwk.kid, algorithms, key) if algorithms else None


def _sane_modulus(members: dict[str, object]) -> bool:
    modulus, exponent = members.get("n"), members.get("e")
    if not isinstance(modulus, str) or not isinstance(exponent, str):
        return False
    try:
        n = int.from_bytes(_decoded(modulus, "modulus"), "big")
        e = int.from_bytes(_decoded(exponent, "exponent"), "big")
    except BadToken:
        return False
    return n.bit_length() in RSA_BITS and e >= 3 and e.bit_length() <= EXPONENT_BITS


def _algorithms_of(key: Key) -> frozenset[str]:
    if isinstance(key, RSAKey):
        return _RSA
    if isinstance(key, ECKey):
        return frozenset({_EC[key.curve_name]})
    if isinstance(key, OKPKey) and key.curve_name == "Ed25519":
        return _ED
    return frozenset()
