"""Puts together whom a site believes: issuers and their keys, the threads for passwords."""

from collections.abc import Callable, Coroutine
from typing import Any

from adapters.fetch import Fetcher
from adapters.oidc.keys import KeyRefresher
from gateway.identity.identity import Authentication
from gateway.identity.issuers import IssuerKeys
from gateway.identity.verifier import Verifier
from gateway.settings import Config, Issuer
from policy.identity.backoff import Backoff
from policy.identity.claims import Expected


class Issuers:
    """The issuers of a site; ``fetchers`` are by realm, for whoever else asks a provider."""

    def __init__(
        self, identity: Authentication, config: Config, clock: Callable[[], float]
    ) -> None:
        rules = config.identity
        self._identity = identity
        identity.verifier = Verifier(rules.password_threads, rules.password_queue)
        identity.backoff = Backoff(rules.failures, rules.backoff, rules.backoff_cap)
        self.fetchers = {issuer.realm: Fetcher(issuer.ca) for issuer in config.issuer}
        self.keys = {one.realm: IssuerKeys(expected(one), clock) for one in config.issuer}
        self._config = config
        identity.trust(self.keys.values())

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what goes on for ever: the keys are fetched again."""
        return [
            KeyRefresher(self.keys[one.realm], self.fetchers[one.realm], one.jwks_uri).run()
            for one in self._config.issuer
        ]

    def close(self) -> None:
        """End the threads."""
        self._identity.close()
        for fetcher in self.fetchers.values():
            fetcher.close()


def expected(issuer: Issuer) -> Expected:
    """Return what a token of an issuer has to be like."""
    return Expected(
        issuer.url,
        issuer.realm,
        frozenset({issuer.audience}),
        frozenset(issuer.algorithms),
        issuer.leeway,
        issuer.kind,
        issuer.kind_claim,
        frozenset(issuer.kinds),
        issuer.roles_claim,
        issuer.attributes,
    )
