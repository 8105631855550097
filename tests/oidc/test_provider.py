"""What the provider of these tests says is what the verifier reads."""

from policy.identity.jwt import fitting, read, read_keys, verify
from tests.oidc.provider import Provider


def keys_of(provider: Provider):
    return read_keys(provider.ask("GET", f"{provider.issuer}/jwks").body.encode())


def test_its_access_tokens_fit_its_keys(provider):
    for text in (provider.service_token(), provider.user_tokens("ann")["access_token"]):
        token = read(text)
        assert (token.issuer, token.claims["aud"]) == (provider.issuer, "hilum")
        assert verify(token, keys_of(provider))


def test_it_can_change_its_keys():
    with Provider() as provider:
        before = read(provider.service_token())
        provider.set(keys=2, keep=1)
        after = read(provider.service_token())
        assert before.header.kid != after.header.kid
        assert verify(before, keys_of(provider))
        assert verify(after, keys_of(provider))
        provider.set(keep=0)
        assert not fitting(keys_of(provider), before.header)
