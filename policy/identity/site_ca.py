"""The site's certificate authority: keys, certificates, requests, revocation lists (RFC 5280).

Everything here turns bytes and times into bytes; where they are kept is another module's matter.
Keys are EC P-256. Times are Unix seconds. Whose a certificate is stands in its one URI, such as
``urn:hilum:principal:device:thermometer``; common names say nothing.
"""

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from policy.identity.principal_uris import uri_of

MAX_REQUEST: Final = 16 * 1024
"""Bytes of a certificate request that is read."""
MAX_CERTIFICATE: Final = 64 * 1024
MAX_DAYS: Final = 3660
BACKDATED: Final = 300
"""Seconds by which a certificate begins earlier: devices' clocks are not exact."""
_SERIAL_BYTES: Final = 16
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
_PEM = serialization.Encoding.PEM
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    CryptographyDeprecationWarning,
)
"""What ``cryptography`` raises for bytes that are not what they should be."""

# What it only warns of, such as a negative serial, is refused here.
warnings.filterwarnings("error", category=CryptographyDeprecationWarning, message="Parsed ")


class CertificateError(ValueError):
    """Bytes that are no certificate, request, key or list that is taken; the text says why."""


class Authority(NamedTuple):
    """What signs: the CA's certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Issued(NamedTuple):
    """A new certificate. ``serial`` and ``fingerprint`` (SHA-256) are hexadecimal."""

    pem: bytes
    serial: str
    fingerprint: str
    not_before: int
    not_after: int


class Presented(NamedTuple):
    """What a certificate says that somebody showed; whether it may be believed is not said."""

    uris: tuple[str, ...]
    serial: str
    fingerprint: str
    not_before: float
    not_after: float


class Revocations(NamedTuple):
    """A revocation list: its number, when the next one is due, and serials with their times."""

    number: int
    next_update: float
    serials: Mapping[str, int]


def new_key() -> bytes:
    """Return a new private key (P-256, PKCS #8, PEM)."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def new_authority(name: str, *, now: float, days: int) -> tuple[bytes, bytes]:
    """Make a CA: return its key and its self-signed certificate, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        _builder(subject, subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(_authority_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key), certificate.public_bytes(_PEM)


def load_authority(key_pem: bytes, certificate_pem: bytes) -> Authority:
    """Read a CA; raises CertificateError when the two do not belong together."""
    certificate = _certificate(certificate_pem)
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except _UNREADABLE as error:
        raise CertificateError(f"the authority's key cannot be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the authority's key is no EC key")
    if certificate.public_key() != key.public_key():
        raise CertificateError("the authority's key is not that of its certificate")
    return Authority(certificate, key)


def new_request(key_pem: bytes) -> bytes:
    """Return a certificate request (PKCS #10, PEM) for a key; whose it is the CA decides."""
    key = serialization.load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise CertificateError("the key is no EC key")
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(_PEM)


def check_request(request: bytes) -> None:
    """Raise CertificateError for bytes that are no request that ``sign_request`` would sign."""
    _request(request)


def sign_request(
    authority: Authority, request: bytes, *, principal: str, now: float, days: int, serial: bytes
) -> Issued:
    """Sign a request (PKCS #10, PEM or DER) for a principal; raises CertificateError.

    Of the request only the public key is taken: its names are what its sender wishes to be called.
    ``serial`` is 16 random bytes.
    """
    asked = _request(request)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri_of(principal))]
    usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
    return _issue(authority, asked.public_key(), principal, names, usage, now, days, serial)


def sign_server(
    authority: Authority,
    request: bytes,
    hosts: Sequence[str],
    *,
    now: float,
    days: int,
    serial: bytes,
) -> Issued:
    """Sign a listener's certificate for host names and addresses; raises CertificateError."""
    if not hosts:
        raise CertificateError("a server's certificate needs at least one host name or address")
    names = [_host(host) for host in hosts]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH]
    asked = _request(request)
    return _issue(authority, asked.public_key(), hosts[0], names, usage, now, days, serial)


def sign_revocations(
    authority: Authority, serials: Mapping[str, int], *, number: int, now: float, days: int
) -> bytes:
    """Return a revocation list (PEM); ``serials`` are hexadecimal, with when each was revoked."""
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(_when(now))
        .next_update(_when(now + _seconds(days)))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(identifier, critical=False)
    )
    for serial, at in serials.items():
        revoked = x509.RevokedCertificateBuilder().serial_number(int(serial, 16))
        builder = builder.add_revoked_certificate(revoked.revocation_date(_when(at)).build())
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(_PEM)


def read_revocations(pem: bytes, authorities: bytes = b"") -> Revocations:
    """Read a revocation list (PEM); raises CertificateError.

    With ``authorities`` (PEM) the list must be signed by one of these.
    """
    try:
        crl = x509.load_pem_x509_crl(pem)
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        due = crl.next_update_utc
        serials = {
            _hexadecimal(one.serial_number): int(one.revocation_date_utc.timestamp()) for one in crl
        }
    except (*_UNREADABLE, x509.ExtensionNotFound) as error:
        raise CertificateError(f"this is no revocation list with a number: {error}") from None
    if authorities and not any(_signed_list(crl, one) for one in _certificates(authorities)):
        raise CertificateError("the revocation list is signed by none of the authorities")
    return Revocations(number, due.timestamp() if due is not None else 0.0, serials)


def read_certificate(data: bytes) -> Presented:
    """Return what a certificate (PEM or DER) says; raises CertificateError."""
    certificate = _certificate(data)
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        uris = tuple(san.value.get_values_for_type(x509.UniformResourceIdentifier))
    except x509.ExtensionNotFound:
        uris = ()
    except (*_UNREADABLE, x509.DuplicateExtension) as error:
        raise CertificateError(f"the certificate's extensions cannot be read: {error}") from None
    return Presented(
        uris,
        _hexadecimal(certificate.serial_number),
        certificate.fingerprint(hashes.SHA256()).hex(),
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
    )


def is_issued_by(data: bytes, authority_pem: bytes) -> bool:
    """Return whether an authority signed a certificate itself, not by another CA in between."""
    certificate = _certificate(data)
    for authority in _certificates(authority_pem):
        try:
            certificate.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def derive(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """Return key material that follows from a secret (HKDF with SHA-256, RFC 5869)."""
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


def _issue(
    authority: Authority,
    public_key: object,
    name: str,
    names: Sequence[x509.GeneralName],
    usage: Sequence[x509.ObjectIdentifier],
    now: float,
    days: int,
    serial: bytes,
) -> Issued:
    if len(serial) != _SERIAL_BYTES:
        raise ValueError(f"a serial is {_SERIAL_BYTES} random bytes")
    number = int.from_bytes(serial, "big") >> 1 or 1  # positive, as RFC 5280 4.1.2.2 says
    issuer = authority.certificate
    builder = _builder(_name(name), issuer.subject, public_key, now, days, number)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_authority_identifier(identifier), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    said = read_certificate(certificate.public_bytes(_PEM))
    return Issued(
        certificate.public_bytes(_PEM),
        said.serial,
        said.fingerprint,
        int(said.not_before),
        int(said.not_after),
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: object,
    now: float,
    days: int,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)  # type: ignore[arg-type]  # ``_request`` looked at its type
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(_when(now - BACKDATED))
        .not_valid_after(_when(now + _seconds(days)))
    )


def _request(data: bytes) -> x509.CertificateSigningRequest:
    if len(data) > MAX_REQUEST:
        raise CertificateError(f"a certificate request has at most {MAX_REQUEST} bytes")
    load = x509.load_pem_x509_csr if _is_pem(data) else x509.load_der_x509_csr
    try:
        request = load(data)
        key = request.public_key()
        valid = request.is_signature_valid
    except (*_UNREADABLE, InvalidSignature):  # what the library says of it helps nobody
        raise CertificateError("this is no certificate request (PKCS #10)") from None
    strong = (
        isinstance(key, ed25519.Ed25519PublicKey)
        or (isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES)
        or (isinstance(key, rsa.RSAPublicKey) and 2048 <= key.key_size <= 4096)
    )
    if not strong:
        raise CertificateError(
            "this kind of key is not certified: use P-256, P-384, P-521, Ed25519, or RSA with 2048 "
            "to 4096 bits"
        )
    if not valid:
        raise CertificateError("the request is not signed with its own key")
    return request


def _certificate(data: bytes) -> x509.Certificate:
    if len(data) > MAX_CERTIFICATE:
        raise CertificateError(f"a certificate has at most {MAX_CERTIFICATE} bytes")
    load = x509.load_pem_x509_certificate if _is_pem(data) else x509.load_der_x509_certificate
    try:
        return load(data)
    except _UNREADABLE as error:
        raise CertificateError(f"this is no certificate: {error}") from None


def _is_pem(data: bytes) -> bool:
    return data.lstrip()[:5] == b"-----"


def _certificates(pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except _UNREADABLE as error:
        raise CertificateError(f"these are no certificates: {error}") from None


def _signed_list(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key = authority.public_key()
    if crl.issuer != authority.subject:
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return False
    try:
        return crl.is_signature_valid(key)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return False


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise CertificateError(f"{host!r} is no host name: {error}") from None


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_identifier(identifier: x509.SubjectKeyIdentifier) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, plain)


def _hexadecimal(number: int) -> str:
    return f"{number:x}"


def _seconds(days: int) -> float:
    if not 0 < days <= MAX_DAYS:
        raise CertificateError(f"a validity is 1 to {MAX_DAYS} days, not {days}")
    return timedelta(days=days).total_seconds()


def _when(unix: float) -> datetime:
    return datetime.fromtimestamp(int(unix), UTC)
