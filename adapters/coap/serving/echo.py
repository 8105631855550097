"""Proof that a client is where its datagrams come from (RFC 9175 sections 2.3 and 2.4). Pure."""

import hmac
from typing import Final

LIFETIME: Final = 60
"""Seconds for which an Echo value is fresh."""
_TIME: Final = 4
_PROOF: Final = 8
SIZE: Final = _TIME + _PROOF


class Echoes:
    """Makes and checks Echo values: a time and its HMAC, bound to the client's address.

    ``key`` is random and this process's own, so that nothing has to be remembered.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, address: object, now: float) -> bytes:
        """Return a value for a client; ``now`` is in seconds."""
        moment = (int(now) & 0xFFFFFFFF).to_bytes(_TIME)
        return moment + self._proof(moment, address)

    def check(self, value: bytes, address: object, now: float) -> bool:
        """Return whether a value was made for this client, and not long ago."""
        moment, proof = value[:_TIME], value[_TIME:]
        if len(value) != SIZE or not hmac.compare_digest(proof, self._proof(moment, address)):
            return False
        return 0 <= int(now) - int.from_bytes(moment) <= LIFETIME

    def _proof(self, moment: bytes, address: object) -> bytes:
        return hmac.digest(self._key, moment + repr(address).encode(), "sha256")[:_PROOF]
