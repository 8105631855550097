"""Passwords that people choose: Argon2id (RFC 9106), the only file that imports argon2.

One check takes some twenty milliseconds and 19 MiB by intention, so it never runs on the loop.
"""

import re
from typing import Final
from unicodedata import normalize

from argon2.exceptions import VerificationError
from argon2.low_level import Type, hash_secret, verify_secret

SHORTEST: Final = 8
"""Characters of a chosen password (NIST SP 800-63B section 5.1.1.2)."""
LONGEST: Final = 256
MEMORY: Final = 19 * 1024
"""KiB; with two passes and one lane, the smallest that OWASP still recommends."""
PASSES: Final = 2
SALT: Final = 16
"""Bytes."""
UNKNOWN: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$c29tZWJvZHkgdW5rbm93bg"
    "$MvJAlhlKRKxTTKYYkO/VOYnW8/eQQo/4TRO0rjhTPqc"
)
"""What a password for a user that does not exist is checked against: it takes as long."""

_ENCODED = re.compile(
    r"\$argon2id\$v=19\$m=(19456),t=(2),p=(1)\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}"
)


def problem_of(password: str) -> str:
    """Return why a password cannot be chosen, "" when it can."""
    if not SHORTEST <= len(password) <= LONGEST:
        return f"a password has {SHORTEST} to {LONGEST} characters"
    return "" if password.isprintable() else "a password has printable characters only"


def hash_password(password: str, salt: bytes) -> str:
    """Return what is stored of a password; ``salt`` is 16 random bytes. Slow: not on the loop."""
    encoded = hash_secret(
        _bytes(password), salt, PASSES, MEMORY, parallelism=1, hash_len=32, type=Type.ID
    )
    return encoded.decode()


def is_verifier(text: str) -> bool:
    """Whether a text is what ``hash_password`` returns: at the one cost that we know."""
    return _ENCODED.fullmatch(text) is not None


def is_password(verifier: str, password: str) -> bool:
    """Whether a password is the right one. Slow: not on the loop."""
    if len(password) > LONGEST:
        password = ""
    try:
        return verify_secret(verifier.encode(), _bytes(password), Type.ID)
    except VerificationError:
        return False


def _bytes(password: str) -> bytes:
    # The same characters typed on another keyboard are the same password (RFC 8265 section 4.2.1).
    return normalize("NFC", password).encode("utf-8", "surrogatepass")
