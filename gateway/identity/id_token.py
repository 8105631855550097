"""ID tokens of people who log in (OpenID Connect Core section 3.1.3.7): the same checks as bearers.

They differ in their audience, which is the client that asked for them, and in the nonce.
"""

import asyncio
import hmac
from contextlib import suppress
from dataclasses import replace
from typing import Final

from gateway.identity.issuers import IssuerKeys
from policy.identity.claims import Verified, principal_of
from policy.identity.jwt import BadToken, read, verify

SECONDS: Final = 15.0
"""How long a login waits for new keys of its issuer."""


async def verified(text: str, nonce: str, issuer: IssuerKeys, client: str, now: float) -> Verified:
    """Return who an ID token that was issued to ``client`` stands for; raises BadToken.

    A key that is not known yet is asked for at most once, as for any other token.
    """
    token = read(text)
    expected = replace(issuer.expected, audience=frozenset({client}))
    if token.header.alg not in expected.algorithms:
        raise BadToken("its algorithm is none that is believed")
    if not issuer.knows(token):
        await _fetched(issuer)
    if not verify(token, issuer.keys):
        raise BadToken("its signature does not fit the keys that its issuer publishes")
    said = token.claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        raise BadToken("its nonce is not that of this login")
    party = token.claims.get("azp")
    audience = token.claims.get("aud")
    several = isinstance(audience, list) and len(audience) > 1
    if party != client and (several or party is not None):
        raise BadToken("it was issued to another party (azp)")
    return principal_of(token.claims, expected, now, "")


async def _fetched(issuer: IssuerKeys) -> None:
    """Wait until the issuer's keys were fetched again, or could not be; not at all if not now."""
    told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def then() -> None:
        if not told.done():
            told.set_result(None)

    if issuer.wait(then):
        with suppress(TimeoutError):
            await asyncio.wait_for(told, SECONDS)
