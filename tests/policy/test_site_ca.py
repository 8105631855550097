"""The site's CA as functions; what it makes is read by openssl too."""

import subprocess
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from policy.identity.principal_uris import principal_in, uri_of
from policy.identity.site_ca import (
    MAX_REQUEST,
    CertificateError,
    check_request,
    derive,
    is_issued_by,
    load_authority,
    new_authority,
    new_key,
    new_request,
    read_certificate,
    read_revocations,
    sign_request,
    sign_revocations,
    sign_server,
)
from tests.support import require_program

NOW = 1_800_000_000
SERIAL = bytes(range(100, 116))
KEY, CERTIFICATE = new_authority("a site", now=NOW, days=100)
AUTHORITY = load_authority(KEY, CERTIFICATE)
OTHER_KEY, OTHER_CERTIFICATE = new_authority("a site", now=NOW, days=100)
OTHER = load_authority(OTHER_KEY, OTHER_CERTIFICATE)
REQUEST = new_request(new_key())


def signed(principal="device:thermometer", authority=AUTHORITY, serial=SERIAL, days=10):
    return sign_request(authority, REQUEST, principal=principal, now=NOW, days=days, serial=serial)


def test_a_certificate_says_whose_it_is_in_its_one_uri():
    issued = signed()
    said = read_certificate(issued.pem)
    assert said.uris == ("urn:hilum:principal:device:thermometer",)
    assert said.serial == issued.serial
    assert said.fingerprint == issued.fingerprint
    assert said.not_before == NOW - 300
    assert said.not_after == NOW + 10 * 86_400
    assert is_issued_by(issued.pem, CERTIFICATE)
    assert not is_issued_by(issued.pem, OTHER_CERTIFICATE)


def test_openssl_reads_what_the_authority_makes(tmp_path):
    openssl = require_program("openssl")
    (tmp_path / "ca.pem").write_bytes(CERTIFICATE)
    (tmp_path / "leaf.pem").write_bytes(signed().pem)
    (tmp_path / "server.pem").write_bytes(
        sign_server(
            AUTHORITY, REQUEST, ["a.example", "127.0.0.1", "::1"], now=NOW, days=9, serial=SERIAL
        ).pem
    )
    crl = sign_revocations(AUTHORITY, {"abc": NOW}, number=7, now=NOW, days=30)
    (tmp_path / "crl.pem").write_bytes(crl)

    def run(*words):
        command = [openssl, *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    at = ("-attime", str(NOW), "-CAfile", "ca.pem", "-x509_strict")
    assert "OK" in run("verify", *at, "-purpose", "sslclient", "leaf.pem")
    assert "OK" in run("verify", *at, "-purpose", "sslserver", "server.pem")
    text = run("x509", "-in", "server.pem", "-noout", "-ext", "subjectAltName")
    assert "DNS:a.example, IP Address:127.0.0.1" in text
    shown = run("crl", "-in", "crl.pem", "-noout", "-text", "-CAfile", "ca.pem")
    assert "X509v3 CRL Number" in shown
    assert "Serial Number: 0ABC" in shown


def test_a_request_made_with_openssl_is_signed_for_whom_the_site_says(tmp_path):
    openssl = require_program("openssl")
    words = ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    words += ["-keyout", "key.pem", "-subj", "/CN=admin", "-outform", "DER", "-out", "request"]
    words += ["-addext", "subjectAltName=URI:urn:hilum:principal:site:admin"]
    subprocess.run([openssl, *words], cwd=tmp_path, capture_output=True, check=True)
    request = (tmp_path / "request").read_bytes()
    issued = sign_request(
        AUTHORITY, request, principal="device:lamp", now=NOW, days=1, serial=SERIAL
    )
    certificate = x509.load_pem_x509_certificate(issued.pem)
    assert read_certificate(issued.pem).uris == ("urn:hilum:principal:device:lamp",)
    assert "admin" not in certificate.subject.rfc4514_string()
    assert b"admin" not in certificate.public_bytes(serialization.Encoding.DER)


def test_a_revocation_list_counts_when_the_authority_signed_it():
    pem = sign_revocations(AUTHORITY, {"1f": NOW - 5}, number=3, now=NOW, days=30)
    revoked = read_revocations(pem, CERTIFICATE)
    assert revoked.number == 3
    assert revoked.next_update == NOW + 30 * 86_400
    assert revoked.serials == {"1f": NOW - 5}
    with pytest.raises(CertificateError, match="none of the authorities"):
        read_revocations(pem, OTHER_CERTIFICATE)
    with pytest.raises(CertificateError, match="no revocation list"):
        read_revocations(b"-----BEGIN X509 CRL-----\n")


def request_of(key):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (b"", "no certificate request"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\n", "no certificate request"),
        (CERTIFICATE, "no certificate request"),
        (b"x" * (MAX_REQUEST + 1), "at most"),
        (request_of(rsa.generate_private_key(65537, 1024)), "kind of key"),
        (request_of(ec.generate_private_key(ec.SECP256K1())), "kind of key"),
    ],
)
def test_what_is_no_request_is_refused(request_, why):
    with pytest.raises(CertificateError, match=why):
        check_request(request_)


def test_who_does_not_have_the_key_gets_no_certificate():
    request = bytearray(request_of(ec.generate_private_key(ec.SECP256R1())))
    request[-1] ^= 1
    with pytest.raises(CertificateError, match=r"own key|no certificate request"):
        check_request(bytes(request))


@given(st.binary(max_size=400), st.integers(0, 600), st.binary(min_size=1, max_size=4))
def test_nothing_but_a_certificate_error_comes_of_any_bytes(data, at, patch):
    request = bytearray(x509.load_pem_x509_csr(REQUEST).public_bytes(serialization.Encoding.DER))
    request[at : at + len(patch)] = patch
    certificate = bytearray(
        x509.load_pem_x509_certificate(CERTIFICATE).public_bytes(serialization.Encoding.DER)
    )
    certificate[at : at + len(patch)] = patch
    for text in (data, bytes(request)):
        with suppress(CertificateError):
            check_request(text)
    for text in (data, bytes(certificate)):
        with suppress(CertificateError):
            read_certificate(text)
    with suppress(CertificateError):
        read_revocations(data)


def test_what_does_not_belong_together_is_no_authority():
    with pytest.raises(CertificateError, match="not that of its certificate"):
        load_authority(OTHER_KEY, CERTIFICATE)
    with pytest.raises(CertificateError, match="cannot be read"):
        load_authority(b"nothing", CERTIFICATE)


@pytest.mark.parametrize("days", [0, -1, 100_000])
def test_a_validity_has_limits(days):
    with pytest.raises(CertificateError, match="days"):
        signed(days=days)


def test_a_server_needs_hosts():
    with pytest.raises(CertificateError, match="at least one"):
        sign_server(AUTHORITY, REQUEST, [], now=NOW, days=1, serial=SERIAL)
    with pytest.raises(CertificateError, match="no host name"):
        sign_server(AUTHORITY, REQUEST, ["hö.example"], now=NOW, days=1, serial=SERIAL)


def test_times_are_whole_seconds_of_utc():
    certificate = x509.load_pem_x509_certificate(signed().pem)
    assert certificate.not_valid_before_utc == datetime.fromtimestamp(NOW - 300, UTC)


@given(st.from_regex(r"[a-z][a-z0-9]{0,8}:[!#-)+-\[\]-~]{1,20}", fullmatch=True))
def test_every_principal_has_one_uri(principal):
    assert principal_in(uri_of(principal)) == principal
    assert "/" not in uri_of(principal)


@pytest.mark.parametrize(
    "uri",
    [
        "urn:hilum:principal:",
        "urn:hilum:principal:thermometer",
        "urn:hilum:principal:device:%74hermometer",
        "URN:hilum:principal:device:thermometer",
        "urn:hilum:device:thermometer",
        "https://example.org/",
        "urn:hilum:principal:device:a%00b",
    ],
)
def test_other_uris_name_nobody(uri):
    assert principal_in(uri) is None


def test_nobody_has_no_uri():
    with pytest.raises(ValueError, match="no principal"):
        uri_of("thermometer")


def test_derived_keys_follow_rfc_5869():
    secret, salt = bytes.fromhex("0b" * 22), bytes.fromhex("000102030405060708090a0b0c")
    derived = derive(secret, salt, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), 42)
    assert derived.hex().startswith(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    )
