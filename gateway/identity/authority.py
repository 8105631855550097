"""The folder of the site's certificate authority, ``<state>/ca``: what it holds and how it changes.

``ca.pem`` and ``crl.pem`` are public, ``ca.key`` only its owner reads, ``issued.jsonl`` is a line
for each certificate. Writers take the lock, so a site and its command line may share the folder.
All of this waits for the disk: call it in a thread.
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from policy.identity.site_ca import (
    Authority,
    Issued,
    Revocations,
    load_authority,
    new_authority,
    read_revocations,
    sign_request,
    sign_revocations,
    sign_server,
)

AUTHORITY_DAYS: Final = 3650
LIST_DAYS: Final = 30
"""For how long a revocation list counts; the site writes the next one when half of it is over."""
_MODE: Final = 0o600


class IssuedRecord(Struct, frozen=True):
    """One certificate that was issued: to a principal, or to a server for hosts. Unix seconds."""

    serial: str
    fingerprint: str
    expires: int
    principal: str = ""
    hosts: tuple[str, ...] = ()


class AuthorityFolder:
    """The site's CA. ``random`` is ``secrets.token_bytes``, ``time`` gives Unix seconds."""

    def __init__(
        self, folder: Path, *, random: Callable[[int], bytes], time: Callable[[], float]
    ) -> None:
        self.folder = folder
        self.certificate = folder / "ca.pem"
        self.revocations = folder / "crl.pem"
        self._key = folder / "ca.key"
        self._issued = folder / "issued.jsonl"
        self._random = random
        self._time = time

    def exists(self) -> bool:
        """Return whether there is an authority."""
        return self.certificate.is_file()

    def create(self, name: str, days: int = AUTHORITY_DAYS) -> None:
        """Make the key, the certificate and an empty revocation list; raises FileExistsError."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if self.exists():
                raise FileExistsError(f"there is an authority in {self.folder} already")
            key, certificate = new_authority(name, now=self._time(), days=days)
            write_secret(self._key, key)
            self._write_list(load_authority(key, certificate), {}, 1)
            write_secret(self.certificate, certificate)  # the last: with it, all is there

    def certificate_pem(self) -> bytes:
        """Return the authority's certificate."""
        return self.certificate.read_bytes()

    def certify(self, request: bytes, principal: str, days: int) -> Issued:
        """Sign a request for a principal; raises CertificateError, OSError."""
        with self._locked():
            issued = sign_request(
                self._load(),
                request,
                principal=principal,
                now=self._time(),
                days=days,
                serial=self._random(16),
            )
            self._note(issued, principal=principal)
        return issued

    def certify_server(self, request: bytes, hosts: Sequence[str], days: int) -> Issued:
        """Sign a request for a server at hosts; raises CertificateError, OSError."""
        with self._locked():
            now, serial = self._time(), self._random(16)
            issued = sign_server(self._load(), request, hosts, now=now, days=days, serial=serial)
            self._note(issued, hosts=tuple(hosts))
        return issued

    def revoke(self, serials: Iterable[str]) -> None:
        """Add certificates to the revocation list; those there already stay as they are."""
        with self._locked():
            old = read_revocations(self.revocations.read_bytes())
            now = int(self._time())
            added = {serial: now for serial in serials if serial not in old.serials}
            self._write_list(self._load(), {**old.serials, **added}, old.number + 1)

    def refresh(self) -> bool:
        """Write the list anew when half of its time is over; return whether that was so."""
        old = self.revoked()
        if old.next_update - self._time() > LIST_DAYS * 86_400 / 2:
            return False
        self.revoke(())
        return True

    def revoked(self) -> Revocations:
        """Return what the revocation list says."""
        return read_revocations(self.revocations.read_bytes())

    def issued(self) -> list[IssuedRecord]:
        """Return all certificates that were issued, the oldest first."""
        try:
            lines = self._issued.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                found.append(msgspec.json.decode(line, type=IssuedRecord))
            except msgspec.DecodeError:
                continue  # a line that was being written when the machine stopped
        return found

    def _load(self) -> Authority:
        return load_authority(self._key.read_bytes(), self.certificate.read_bytes())

    def _note(self, issued: Issued, principal: str = "", hosts: tuple[str, ...] = ()) -> None:
        record = IssuedRecord(issued.serial, issued.fingerprint, issued.not_after, principal, hosts)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        with os.fdopen(os.open(self._issued, flags, _MODE), "ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _write_list(self, authority: Authority, serials: dict[str, int], number: int) -> None:
        now = self._time()
        pem = sign_revocations(authority, serials, number=number, now=now, days=LIST_DAYS)
        write_secret(self.revocations, pem)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, _MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def write_secret(path: Path, content: bytes) -> None:
    """Put a file that only its owner may read in place, whole and on the disk."""
    partial = path.with_name(path.name + ".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
