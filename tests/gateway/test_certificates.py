"""Whom certificates stand for: spoofed, foreign, revoked and expired ones included."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gateway.identity.certificates import Trust, read_anchors
from gateway.message import Refusal
from policy.identity.principal_uris import uri_of
from policy.identity.site_ca import (
    CertificateError,
    load_authority,
    new_authority,
    new_key,
    new_request,
    sign_request,
    sign_revocations,
)
from policy.model import Principal

NOW = 1_800_000_000
LAMP = "device:lamp"


class Ca:
    """An authority that signs whatever it is told to."""

    def __init__(self):
        self.key, self.pem = new_authority("a test", now=NOW, days=1000)
        self.authority = load_authority(self.key, self.pem)
        self.number = 1

    def leaf(self, *uris, days=10, name="", start=NOW - 60, serial=7):
        """Return a certificate in DER."""
        now = dt.datetime.fromtimestamp(start, dt.UTC)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .issuer_name(self.authority.certificate.subject)
            .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
            .serial_number(serial)
            .not_valid_before(now)
            .not_valid_after(now + dt.timedelta(days=days))
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        signed = builder.sign(self.authority.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.DER)

    def crl(self, *serials, days=30, now=NOW):
        self.number += 1
        revoked = dict.fromkeys(serials, now)
        return sign_revocations(self.authority, revoked, number=self.number, now=now, days=days)

    def anchors(self, realm="", lists=None):
        return read_anchors(self.pem, lists, realm)


class Desk:
    """A Trust, what it looks up, and what it ended."""

    def __init__(self, *anchors):
        self.records: dict[str, Principal] = {}
        self.void: dict[str, float] = {}
        self.ended: list[str] = []
        self.trust = Trust(
            lambda said: self.records.get(said.fingerprint),
            lambda principal, issued: self.void.get(principal, 0) > issued,
            self.ended.append,
        )
        self.trust.load(anchors)

    def who(self, der, now=NOW):
        return self.trust.principal_of(der, now)

    def refuses(self, der, why, now=NOW):
        with pytest.raises(Refusal, match=why):
            self.who(der, now)

    def record(self, der, principal=LAMP):
        fingerprint = x509.load_der_x509_certificate(der).fingerprint(hashes.SHA256()).hex()
        made = Principal(principal, "device", method="certificate", credential="certificate:7")
        self.records[fingerprint] = made
        return made


@pytest.fixture
def own():
    return Ca()


@pytest.fixture
def foreign():
    return Ca()


def test_the_sites_own_certificates_are_looked_up(own):
    desk = Desk(*own.anchors(lists=own.crl()))
    der = own.leaf(uri_of(LAMP))
    desk.refuses(der, "no record")
    principal = desk.record(der)
    assert desk.who(der) is principal
    assert desk.who(der) is principal


def test_another_authority_never_makes_the_same_principal(own, foreign):
    desk = Desk(*own.anchors(lists=own.crl()), *foreign.anchors("acme"))
    mine, theirs = own.leaf(uri_of(LAMP)), foreign.leaf(uri_of(LAMP))
    desk.record(mine)
    assert desk.who(mine).id == LAMP
    assert desk.who(theirs).id == f"acme:{LAMP}"
    assert desk.who(theirs) is desk.who(theirs), "decisions are cached by the object"
    assert desk.trust.holds(desk.who(theirs))


def test_an_authority_of_the_same_name_is_another_one(own, foreign):
    desk = Desk(*own.anchors(lists=own.crl()))
    der = foreign.leaf(uri_of(LAMP))
    desk.record(der)
    desk.refuses(der, "none of this listener's authorities")


@pytest.mark.parametrize(
    ("uris", "name", "why"),
    [
        ((), "device:lamp", "0 URIs"),
        ((uri_of(LAMP), uri_of("site:admin")), "", "2 URIs"),
        (("urn:x:" + "y" * 300,), "", "cannot be a principal"),
    ],
)
def test_a_certificate_has_to_name_one_principal(foreign, uris, name, why):
    desk = Desk(*foreign.anchors("acme"))
    desk.refuses(foreign.leaf(*uris, name=name), why)


def test_other_uris_are_names_in_the_authoritys_realm(foreign):
    desk = Desk(*foreign.anchors("acme"))
    assert (
        desk.who(foreign.leaf("spiffe://acme.example/door")).id == "acme:spiffe://acme.example/door"
    )


def test_times_are_looked_at_each_time(foreign):
    desk = Desk(*foreign.anchors("acme"))
    der = foreign.leaf(uri_of(LAMP), days=1)
    desk.refuses(der, "not valid yet", NOW - 1000)
    assert desk.who(der)
    desk.refuses(der, "expired", NOW + 86_400)


def test_expiry_ends_who_showed_the_certificate(foreign):
    desk = Desk(*foreign.anchors("acme"))
    principal = desk.who(foreign.leaf(uri_of(LAMP), days=1))
    desk.trust.sweep(NOW + 1000)
    assert desk.ended == []
    desk.trust.sweep(NOW + 86_400)
    assert desk.ended == [principal.credential]
    assert not desk.trust.holds(principal)


def test_a_revocation_list_ends_who_showed_the_certificate(foreign):
    desk = Desk(*foreign.anchors("acme", foreign.crl()))
    der, other = foreign.leaf(uri_of(LAMP)), foreign.leaf(uri_of("device:door"), serial=8)
    principal = desk.who(der)
    desk.who(other)
    desk.trust.load(foreign.anchors("acme", foreign.crl("7")))
    assert desk.ended == [principal.credential]
    desk.refuses(der, "revoked")
    assert desk.who(other)


def test_an_authority_that_is_no_longer_trusted_ends_its_certificates(foreign, own):
    desk = Desk(*foreign.anchors("acme"))
    principal = desk.who(foreign.leaf(uri_of(LAMP)))
    desk.trust.load(own.anchors("acme"))
    assert desk.ended == [principal.credential]


def test_another_realm_ends_them_too(foreign):
    desk = Desk(*foreign.anchors("acme"))
    der = foreign.leaf(uri_of(LAMP))
    principal = desk.who(der)
    desk.trust.load(foreign.anchors("other"))
    assert desk.ended == [principal.credential]
    assert desk.who(der).id == f"other:{LAMP}"


def test_a_list_that_is_out_of_date_lets_nobody_in(foreign):
    desk = Desk(*foreign.anchors("acme", foreign.crl(days=1)))
    der = foreign.leaf(uri_of(LAMP))
    assert desk.who(der)
    desk.refuses(der, "out of date", NOW + 86_400)


def test_each_authority_needs_its_list(own, foreign):
    anchors = read_anchors(own.pem + foreign.pem, own.crl(), "acme")
    desk = Desk(*anchors)
    assert desk.who(own.leaf(uri_of(LAMP)))
    desk.refuses(foreign.leaf(uri_of(LAMP)), "no revocation list here")


def test_the_newest_of_several_lists_counts(foreign):
    old = foreign.crl()
    desk = Desk(*read_anchors(foreign.pem, foreign.crl("7") + old, "acme"))
    desk.refuses(foreign.leaf(uri_of(LAMP)), "revoked")


def test_a_list_that_somebody_else_signed_is_refused(own, foreign):
    with pytest.raises(CertificateError, match="signed by none"):
        read_anchors(own.pem, foreign.crl(), "acme")


@pytest.mark.parametrize(("authorities", "lists"), [(b"", None), (b"x" * (9 << 20), None)])
def test_files_that_hold_nothing_are_refused(authorities, lists):
    with pytest.raises(CertificateError):
        read_anchors(authorities, lists, "acme")


def test_an_empty_file_of_lists_is_no_list(own):
    with pytest.raises(CertificateError, match="no revocation list"):
        read_anchors(own.pem, b"", "acme")


def test_a_revoked_principal_is_nobody_by_what_it_had_before(foreign):
    desk = Desk(*foreign.anchors("acme"))
    der = foreign.leaf(uri_of(LAMP))
    principal = desk.who(der)
    desk.void[principal.id] = NOW + 5
    desk.trust.sweep(NOW + 6)
    assert desk.ended == [principal.credential]
    desk.refuses(der, "were revoked after", NOW + 6)
    assert desk.who(foreign.leaf(uri_of(LAMP), start=NOW + 10), NOW + 20).id == principal.id


def test_what_the_authority_did_not_sign_itself_is_refused(own):
    key = new_key()
    issued = sign_request(
        own.authority, new_request(key), principal=LAMP, now=NOW, days=5, serial=bytes(15) + b"\x09"
    )
    pem = issued.pem
    between = load_authority(key, pem)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(between.certificate.subject)
    )
    now = dt.datetime.fromtimestamp(NOW - 60, dt.UTC)
    signed = (
        builder.public_key(between.key.public_key())
        .serial_number(3)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(between.key, hashes.SHA256())
    )
    desk = Desk(*own.anchors("acme"))
    desk.refuses(signed.public_bytes(serialization.Encoding.DER), "none of this listener")


def test_bytes_that_are_no_certificate_are_nobody(own):
    Desk(*own.anchors("acme")).refuses(b"\x30\x03\x02\x01\x01", "no certificate")
