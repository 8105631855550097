"""Tokens of other issuers: what is refused before, at and after the signature (RFC 8725)."""

import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.identity import jwt
from policy.identity.claims import Expected, principal_of
from policy.identity.jwt import BadKeys, BadToken
from policy.model import Principal
from tests.issuers import AUDIENCE, URL, claims, jwks, key, raw_token, token

NOW = 1_000_000.0
ISSUER = Expected(
    URL,
    "idp",
    frozenset({AUDIENCE, "other"}),
    frozenset(jwt.DEFAULT_ALGORITHMS),
    kind_claim="hilum_kind",
    kinds=frozenset({"operator"}),
    roles_claim="/realm_access/roles",
    attributes={"rank": "rank", "teams": "https://x.test/teams", "staff": "staff"},
)


def checked(text: str, keys: bytes | None = None, issuer: Expected = ISSUER) -> Principal:
    """Do what the site does with a token."""
    found = jwt.read(text)
    if found.header.alg not in issuer.algorithms:
        raise BadToken("alg")
    if not jwt.verify(found, jwt.read_keys(keys or jwks(key(), key("EC"), key("OKP")))):
        raise BadToken("signature")
    return principal_of(found.claims, issuer, NOW, "jwt:1").principal


@pytest.mark.parametrize(
    ("alg", "kind"),
    [("RS256", "RSA"), ("PS256", "RSA"), ("ES256", "EC"), ("EdDSA", "OKP")],
)
def test_a_signed_token_is_a_principal(alg: str, kind: str) -> None:
    found = checked(token(claims(NOW), alg=alg, signer=key(kind)))
    assert (found.id, found.kind, found.method) == ("idp:ann", "user", "jwt")
    assert found.expires == NOW + 330
    for where in range(3):  # a bit of any part
        parts = token(claims(NOW), alg=alg, signer=key(kind)).split(".")
        flipped = "A" if parts[where][-8] != "A" else "B"
        parts[where] = parts[where][:-8] + flipped + parts[where][-7:]
        with pytest.raises(BadToken):
            checked(".".join(parts))


def test_claims_become_kind_roles_and_attributes() -> None:
    said = claims(
        NOW,
        aud=["x", "other"],
        hilum_kind="operator",
        realm_access={"roles": ["nurse", "nurse", "lead"]},
        rank=3,
        staff=True,
        **{"https://x.test/teams": ["a", "b"]},
    )
    found = checked(token(said))
    assert found.kind == "operator"
    assert found.roles == ("nurse", "lead")
    assert dict(found.attributes) == {
        "rank": 3.0,
        "staff": True,
        "teams": ("a", "b"),
        "roles": ("nurse", "lead"),
    }


def test_subjects_never_collide() -> None:
    subjects = ["a b", "a%20b", "a%2520b", "auth0|1", "é", "e\u0301", "*", 'a"b', "x:y"]
    ids = {checked(token(claims(NOW, sub=sub))).id for sub in subjects}
    assert len(ids) == len(subjects)
    assert all(one.startswith("idp:") and one.isascii() and " " not in one for one in ids)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"exp": int(NOW) - 31}, "expired"),
        ({"exp": None}, "when it expires"),
        ({"exp": "soon"}, "no time"),
        ({"exp": True}, "no time"),
        ({"exp": -1}, "no time"),
        ({"exp": 10**400}, "no time"),
        ({"exp": [1]}, "no time"),
        ({"nbf": NOW + 31}, "not valid yet"),
        ({"nbf": "x"}, "no time"),
        ({"iat": NOW + 31}, "in the future"),
        ({"iss": "http://other.test"}, "another"),
        ({"iss": URL + "/"}, "another"),
        ({"iss": None}, "another"),
        ({"iss": [URL]}, "another"),
        ({"aud": "hilum2"}, "somebody else"),
        ({"aud": None}, "for whom"),
        ({"aud": []}, "for whom"),
        ({"aud": {"hilum": 1}}, "for whom"),
        ({"aud": [["hilum"]]}, "for whom"),
        ({"aud": ["x"] * 100 + ["hilum"]}, "for whom"),
        ({"sub": None}, "whose"),
        ({"sub": ""}, "whose"),
        ({"sub": 7}, "whose"),
        ({"sub": "x" * 200}, "too long"),
        ({"hilum_kind": "administrator"}, "no kind"),
        ({"hilum_kind": ["operator"]}, "no kind"),
        ({"realm_access": {"roles": ["r"] * 65}}, "roles"),
        ({"realm_access": {"roles": [7]}}, "printable"),
        ({"realm_access": {"roles": {}}}, "roles"),
        ({"rank": {"a": 1}}, "printable"),
        ({"rank": "x" * 1025}, "printable"),
        ({"rank": "a\nb"}, "printable"),
        ({"rank": ["x"] * 65}, "more than"),
        ({"rank": 10**301}, "too large"),
    ],
)
def test_claims_that_are_refused(said: dict[str, object], why: str) -> None:
    with pytest.raises(BadToken, match=why):
        checked(token(claims(NOW, **said)))


def test_clocks_may_differ_a_little() -> None:
    said = claims(NOW, exp=NOW - 29, nbf=NOW + 29, iat=NOW + 29)
    assert checked(token(said)).expires == NOW + 1
    for_ever = checked(token(claims(NOW, exp=NOW + 10**10)))
    assert for_ever.expires == NOW + 366 * 86_400
    words = Expected(URL, "a", frozenset({AUDIENCE}), ISSUER.algorithms, roles_claim="scope")
    assert checked(token(claims(NOW, scope="read write")), issuer=words).roles == ("read", "write")
    assert checked(token(claims(NOW)), issuer=words).attributes == {}


def test_no_signature_and_the_public_key_as_a_secret() -> None:
    payload = json.dumps(claims(NOW)).encode()
    head = b'{"alg":"%b","kid":"RSA-1"}'
    none, symmetric = (jwt.encode_part(head % name) for name in (b"none", b"HS256"))
    unsigned = f"{none}.{jwt.encode_part(payload)}."
    with pytest.raises(BadToken, match="three"):
        checked(unsigned)
    with pytest.raises(BadToken, match="alg"):
        checked(unsigned + "AAAA")
    public = key().as_pem(private=False)
    for secret in (public, public.strip(), json.dumps(key().as_dict(private=False)).encode()):
        signed = f"{symmetric}.{jwt.encode_part(payload)}"
        code = hmac.digest(secret, signed.encode(), "sha256")
        forged = f"{signed}.{jwt.encode_part(code)}"
        with pytest.raises(BadToken, match="alg"):
            checked(forged)
        assert not jwt.fitting(jwt.read_keys(jwks(key())), jwt.read(forged).header)


def test_an_algorithm_of_another_type_of_key_does_not_fit() -> None:
    assert not jwt.verify(jwt.read(token(kid="EC-1")), jwt.read_keys(jwks(key("EC"))))
    said = {**key().as_dict(private=False), "alg": "PS256"}
    only_pss = jwt.read_keys(json.dumps({"keys": [said]}).encode())
    assert not jwt.verify(jwt.read(token()), only_pss)
    assert jwt.verify(jwt.read(token(alg="PS256")), only_pss)


def test_keys_that_a_token_brings_are_never_used() -> None:
    evil = key("RSA", 2)
    said = {
        "jwk": evil.as_dict(private=False),
        "jku": "http://127.0.0.1:1/jwks",
        "x5u": "http://127.0.0.1:1/x5u",
        "x5c": ["AAAA"],
    }
    for kid in ("RSA-1", "RSA-2", None, "../../dev/null"):
        with pytest.raises(BadToken, match="signature"):
            checked(token(claims(NOW), signer=evil, **{**said, "kid": kid}))
    assert checked(token(claims(NOW), **said)).id == "idp:ann"
    assert checked(token(claims(NOW), kid=None)).id == "idp:ann"


@pytest.mark.parametrize(
    ("head", "payload"),
    [
        (b'{"alg":"RS256","alg":"none"}', b"{}"),
        (b'{"alg":"RS256"}', b'{"sub":"ann","sub":"admin"}'),
        (b'{"alg":"RS256"}', b'{"a":{"b":1,"b":2}}'),
        (b'{"alg":"RS256"}', b"[]"),
        (b'{"alg":"RS256"}', b"{} {}"),
        (b'{"alg":"RS256"}', b'{"exp":NaN}'),
        (b'{"alg":"RS256"}', b'{"sub":"\\ud800"}'),
        (b'{"alg":"RS256"}', b'{"sub":"\xff"}'),
        (b'{"alg":"RS256"}', b"[" * 2000),
        (b'{"alg":"RS256","crit":["exp"]}', b"{}"),
        (b'{"alg":"RS256","crit":[]}', b"{}"),
        (b'{"alg":"RS256","b64":false}', b"{}"),
        (b'{"alg":"RS256","typ":"logout+jwt"}', b"{}"),
        (b'{"alg":"RS256","typ":"dpop+jwt"}', b"{}"),
        (b'{"alg":["RS256"]}', b"{}"),
        (b"{}", b"{}"),
        (b'{"alg":"RS256","kid":7}', b"{}"),
        (b'{"alg":"RS256","kid":"' + b"k" * 257 + b'"}', b"{}"),
    ],
)
def test_texts_that_are_refused_before_the_signature(head: bytes, payload: bytes) -> None:
    with pytest.raises(BadToken):
        jwt.read(raw_token(head, payload))


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a.b", "a.b.c.d.e", "a.b.c\n", "é.a.b", "a=.b.c", "e30.e30.e30=", "A.A.A"],
)
def test_texts_that_are_no_tokens(text: str) -> None:
    with pytest.raises(BadToken):
        jwt.read(text)


def test_sizes() -> None:
    with pytest.raises(BadToken, match="8192"):
        jwt.read("a" * 8193)
    assert not jwt.looks_like("eyJ.b.c" + "d" * 8192)
    assert jwt.looks_like(token())
    assert not jwt.looks_like("my.pass.word")
    with pytest.raises(BadToken, match="one way"):  # the same bytes, spelled another way
        jwt.read("e31.e30.e30")


def _with(**more: object) -> dict[str, object]:
    return {**key().as_dict(private=False), **more}


@pytest.mark.parametrize(
    "member",
    [
        {"kty": "oct", "k": "AAAA"},
        {"kty": "RSA"},
        {"kty": "PQ", "pub": "x"},
        key().as_dict(private=True),
        _with(use="enc"),
        _with(key_ops=["sign"]),
        _with(kid="k" * 300),
        _with(kid=7),
        _with(alg="HS256"),
        _with(n="AQAB"),
        _with(n=jwt.encode_part(b"\xff" * 2048)),
        _with(n=7),
        _with(n="**"),
        _with(e="AQ"),
        _with(e=jwt.encode_part(b"\xff" * 200)),
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        {"kty": "EC", "crv": "secp256k1", "x": "AAAA", "y": "AAAA"},
        {"kty": "OKP", "crv": "X25519", "x": jwt.encode_part(b"\x09" + bytes(31))},
        {"kty": "OKP", "crv": "Ed25519", "x": "AA"},
    ],
)
def test_keys_that_are_left_out(member: dict[str, object]) -> None:
    with pytest.raises(BadKeys):
        jwt.read_keys(json.dumps({"keys": [member]}).encode())
    both = jwt.read_keys(json.dumps({"keys": [member, key("EC").as_dict(private=False)]}).encode())
    assert [one.kid for one in both] == ["EC-1"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":[],"keys":[]}',
        b"\xff",
    ],
)
def test_key_sets_that_are_refused(data: bytes) -> None:
    with pytest.raises(BadKeys):
        jwt.read_keys(data)
    with pytest.raises(BadKeys, match="bytes"):
        jwt.read_keys(b" " * (jwt.KEYS_BYTES + 1))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
_claims = st.sampled_from(["iss", "aud", "sub", "exp", "nbf", "iat", "rank", "realm_access"])


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "x"]), _json, max_size=4),
    st.dictionaries(_claims, _json, max_size=6),
    st.binary(max_size=80),
)
def test_any_text_is_a_principal_or_refused(head, said, signature) -> None:
    parts = (json.dumps({"alg": "RS256"} | head), json.dumps(claims(NOW) | said))
    text = ".".join(jwt.encode_part(part.encode()) for part in parts)
    for one in (f"{text}.{jwt.encode_part(signature)}", text, parts[0]):
        with pytest.raises(BadToken):
            checked(one, jwks(key()))
    try:
        found = principal_of({**claims(NOW), **said}, ISSUER, NOW, "x").principal
    except BadToken:
        return
    assert found.id.startswith("idp:")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.dictionaries(st.just("keys"), _json).map(json.dumps))
def test_any_bytes_are_keys_or_refused(data) -> None:
    with pytest.raises(BadKeys):
        jwt.read_keys(data if isinstance(data, bytes) else data.encode("utf-8", "replace"))


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "crv", "x", "y", "use", "alg"]), _json))
def test_any_members_are_a_key_or_left_out(member) -> None:
    try:
        jwt.read_keys(json.dumps({"keys": [{**key().as_dict(private=False), **member}]}).encode())
    except BadKeys:
        return
