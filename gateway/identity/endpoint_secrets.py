"""Secrets with which the gateway authenticates at endpoints: beside the change log, never in it.

Each is a file that only the site's user reads, ``<state>/endpoint-secrets/<digest>.json``. A secret
belongs to the owner of its object and goes only to endpoints that this owner registered: who gets
the name later gets none of it.
"""

import logging
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from gateway.identity.authority import write_secret

log = logging.getLogger("hilum.identity")

MAX_SECRETS: Final = 10_000
# Printable and without spaces at its ends: it becomes a line of a head.
_PRINTABLE: Final = r"^[!-~]([ -~]{0,4094}[!-~])?$"
_NAME: Final = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"

Value: TypeAlias = Annotated[str, Meta(pattern=_PRINTABLE)]


class Basic(Struct, frozen=True, tag="basic", tag_field="scheme", forbid_unknown_fields=True):
    """User and password (RFC 7617)."""

    user: Annotated[str, Meta(pattern=r"^[^:\x00-\x1f\x7f]{1,256}$")]
    password: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,1024}$")]


class Bearer(Struct, frozen=True, tag="bearer", tag_field="scheme", forbid_unknown_fields=True):
    """A bearer token (RFC 6750)."""

    token: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~+/-]{1,4096}=*$")]


class ApiKey(Struct, frozen=True, tag="apikey", tag_field="scheme", forbid_unknown_fields=True):
    """A key that goes into a header or the query under a name (WoT TD 1.1 APIKeySecurityScheme)."""

    key: Value
    name: Annotated[str, Meta(pattern=_NAME)]
    place: Literal["header", "query"] = "header"


Secret: TypeAlias = Basic | Bearer | ApiKey


class Kept(Struct, frozen=True):
    """A secret, what it is for (``<object>#<word>``), and whose it is."""

    reference: str
    owner: str
    secret: Secret


class EndpointSecrets:
    """The folder; what is read is in memory, so that no call waits for the disk."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "endpoint-secrets"
        self._kept: dict[str, Kept] = {}
        self._by_object: dict[str, set[str]] = {}
        self.changed: list[Callable[[str], None]] = []
        """Told of a reference whose secret is another one now."""

    def load(self) -> None:
        """Read all secrets. It waits for the disk: call it in a thread."""
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*.json"):
            try:
                kept = msgspec.json.decode(path.read_bytes(), type=Kept)
            except (OSError, msgspec.MsgspecError):
                # The error's text could hold a part of the secret.
                log.warning("the endpoint's secret in %s cannot be read", path.name)
            else:
                self._keep(kept)

    def find(self, reference: str, owner: str) -> Secret | None:
        """Return a secret, if it is there and its owner's."""
        kept = self._kept.get(reference)
        return kept.secret if kept is not None and kept.owner == owner else None

    def of(self, obj: str) -> Iterator[Kept]:
        """Yield the secrets of an object, or of all objects for ``""``."""
        references = self._by_object.get(obj, ()) if obj else self._kept
        yield from [self._kept[reference] for reference in references]

    def owner_of(self, reference: str) -> str:
        """Return whose secret a reference stands for, "" if there is none."""
        kept = self._kept.get(reference)
        return "" if kept is None else kept.owner

    def full(self) -> bool:
        """Return whether there are as many as there may be."""
        return len(self._kept) >= MAX_SECRETS

    def write(self, kept: Kept) -> None:
        """Keep a secret on the disk; raises OSError. It waits: call it in a thread."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        write_secret(self._path(kept.reference), msgspec.json.encode(kept))

    def erase(self, reference: str) -> None:
        """Take a secret from the disk; raises OSError. It waits: call it in a thread."""
        self._path(reference).unlink(missing_ok=True)

    def use(self, reference: str, kept: Kept | None) -> None:
        """Let calls use a secret that was written, or none."""
        if kept is not None:
            self._keep(kept)
        elif self._kept.pop(reference, None) is not None:
            self._by_object[_object(reference)].discard(reference)
        for tell in self.changed:
            tell(reference)

    def _keep(self, kept: Kept) -> None:
        self._kept[kept.reference] = kept
        self._by_object.setdefault(_object(kept.reference), set()).add(kept.reference)

    def _path(self, reference: str) -> Path:
        return self._folder / f"{sha256(reference.encode()).hexdigest()}.json"


def _object(reference: str) -> str:
    return reference.partition("#")[0]
