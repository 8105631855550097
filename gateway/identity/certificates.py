"""Whom the certificates that clients show stand for (design 7; RFC 5280 sections 4.2.1.6 and 5).

TLS has checked the chain, the times and that the client has the key. Here a certificate becomes a
Principal: by its one URI, and by who signed it. What the site's own authority signed is looked up
among the site's records; what another authority signed is somebody of that authority's realm,
whatever it says. So the two never are the same principal.
"""

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final, NamedTuple

from gateway.message import Refusal, Status
from policy.identity.principal_uris import principal_in
from policy.identity.site_ca import (
    CertificateError,
    Presented,
    Revocations,
    is_issued_by,
    read_certificate,
    read_revocations,
)
from policy.identity.tokens import is_principal
from policy.model import Principal

log = logging.getLogger("hilum.tls")

MAX_FILE: Final = 8 * 1024 * 1024
"""Bytes of a file of authorities or of revocation lists."""
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)

Lookup = Callable[[Presented], Principal | None]
"""Who has a certificate of the site's own authority, by the site's records."""
Revoked = Callable[[str, float], bool]
"""Whether all that a principal was given before a time (Unix seconds) is void."""


class Anchor(NamedTuple):
    """An authority whose certificates count; ``realm`` is "" for the site's own.

    ``listed``: there has to be a revocation list that is not out of date.
    """

    pem: bytes
    realm: str
    listed: bool
    revocations: Revocations | None


@dataclass(frozen=True, slots=True)
class _Known:
    """A certificate that was shown, who showed it, and the authority that signed it."""

    presented: Presented
    anchor: Anchor
    der: bytes
    principal: Principal


def read_anchors(authorities: bytes, lists: bytes | None, realm: str) -> list[Anchor]:
    """Read authorities and their revocation lists (PEM); raises CertificateError.

    Each list must be signed by one of the authorities; without ``lists`` nothing is revoked.
    """
    if max(len(authorities), len(lists or b"")) > MAX_FILE:
        raise CertificateError(f"a file of authorities or lists has at most {MAX_FILE} bytes")
    pems = _CERTIFICATE.findall(authorities)
    if not pems:
        raise CertificateError("there is no certificate of an authority (PEM)")
    found: dict[bytes, Revocations] = {}
    blocks = _LIST.findall(lists) if lists is not None else []
    if lists is not None and not blocks:
        raise CertificateError("there is no revocation list (PEM)")
    for block in blocks:
        read_revocations(block, authorities)
        for pem in pems:
            try:
                revocations = read_revocations(block, pem)
            except CertificateError:
                continue
            old = found.get(pem)
            if old is None or old.number < revocations.number:
                found[pem] = revocations
    for pem in pems:
        read_certificate(pem)
    return [Anchor(pem, realm, lists is not None, found.get(pem)) for pem in pems]


class Trust:
    """Whom certificates stand for at one listener.

    ``lookup`` knows the holders of the site's own certificates, ``revoked`` whose credentials are
    void; ``ended`` is told the credential of whoever must not go on. Times are Unix seconds.
    """

    def __init__(self, lookup: Lookup, revoked: Revoked, ended: Callable[[str], None]) -> None:
        self._lookup = lookup
        self._revoked = revoked
        self._ended = ended
        self._anchors: tuple[Anchor, ...] = ()
        self._known: dict[bytes, _Known] = {}
        self._foreign: dict[str, Principal] = {}

    def load(self, anchors: Iterable[Anchor]) -> None:
        """Trust these authorities from now on; who showed what counts no longer is ended."""
        self._anchors = tuple(anchors)
        for digest, known in tuple(self._known.items()):
            anchor = self._anchor_of(known.der)
            if anchor is None or anchor.realm != known.anchor.realm or _is_listed(anchor, known):
                self._end(digest, known)
            else:
                self._known[digest] = replace(known, anchor=anchor)

    def principal_of(self, der: bytes, now: float) -> Principal:
        """Return who shows this certificate (DER); raises Refusal, saying why it is nobody."""
        digest = sha256(der).digest()
        known = self._known.get(digest)
        try:
            presented = known.presented if known is not None else read_certificate(der)
        except CertificateError as error:
            raise _refused(str(error)) from error
        anchor = known.anchor if known is not None else self._anchor_of(der)
        if anchor is None:
            raise _refused("its issuer is none of this listener's authorities")
        _check(anchor, presented, now)
        if anchor.realm == "":
            principal = self._lookup(presented)
        else:
            principal = known.principal if known is not None else _foreign(anchor, presented)
        if principal is None or now >= principal.expires:
            raise _refused("this site has no record of it: it was revoked, or never issued to use")
        if anchor.realm and self._revoked(principal.id, presented.not_before):
            raise _refused("the credentials of its principal were revoked after it was issued")
        self._known[digest] = _Known(presented, anchor, der, principal)
        if anchor.realm:
            self._foreign[principal.credential] = principal
        return principal

    def sweep(self, now: float) -> None:
        """End who showed a certificate that has expired, or whose credentials are void by now."""
        for digest, known in tuple(self._known.items()):
            said = known.presented
            void = known.anchor.realm and self._revoked(known.principal.id, said.not_before)
            if void or said.not_after <= now:
                self._end(digest, known)

    def holds(self, principal: Principal) -> bool:
        """Whether a principal is known by a certificate of another authority that still counts."""
        known = self._foreign.get(principal.credential)
        return known is principal

    def _anchor_of(self, der: bytes) -> Anchor | None:
        return next((anchor for anchor in self._anchors if is_issued_by(der, anchor.pem)), None)

    def _end(self, digest: bytes, known: _Known) -> None:
        del self._known[digest]
        self._foreign.pop(known.principal.credential, None)
        log.info("the certificate %s of %s ends", known.presented.serial, known.principal.id)
        self._ended(known.principal.credential)


def _check(anchor: Anchor, presented: Presented, now: float) -> None:
    """Raise Refusal for a certificate that does not count now."""
    if not presented.not_before <= now < presented.not_after:
        raise _refused("it is expired, or not valid yet")
    if anchor.revocations is None:
        if anchor.listed:
            raise _refused("its issuer has no revocation list here")
        return
    if presented.serial in anchor.revocations.serials:
        raise _refused("it is revoked")
    if anchor.revocations.next_update <= now:
        raise _refused("its issuer's revocation list is out of date: get the next one")


def _foreign(anchor: Anchor, presented: Presented) -> Principal:
    """Return who shows a certificate of an authority that is not the site's."""
    if len(presented.uris) != 1:
        raise _refused(f"it has {len(presented.uris)} URIs as alternative names, not one")
    subject = principal_in(presented.uris[0]) or presented.uris[0]
    id_ = f"{anchor.realm}:{subject}"
    if not is_principal(id_):
        raise _refused("its URI cannot be a principal: it is too long, or has odd characters")
    return Principal(
        id_,
        "device",
        method="certificate",
        credential=f"certificate:{presented.fingerprint}",
        expires=presented.not_after,
    )


def _is_listed(anchor: Anchor, known: _Known) -> bool:
    revocations = anchor.revocations
    return revocations is not None and known.presented.serial in revocations.serials


def _refused(why: str) -> Refusal:
    return Refusal(Status.UNAUTHENTICATED, f"the certificate stands for nobody ({why})")
