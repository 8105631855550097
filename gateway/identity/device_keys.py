"""Keys of devices that the site has to know itself: pre-shared keys and OSCORE contexts.

They are files that only the site's user reads, beside the change log and never in it:
``<state>/psk/<identity>`` is a key in hexadecimal, ``<state>/oscore/<name>/`` a security context as
aiocoap reads it. All of this waits for the disk: call it in a thread.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from gateway.identity.authority import write_secret
from policy.identity.site_ca import derive

log = logging.getLogger("hilum.identity")

SITE_ID: Final = "00"
"""The site's own id in all contexts that it makes, in hexadecimal."""
CLAIM: Final = "claim-"
"""What names of contexts that claim tokens open begin with; the id of the token follows."""
ALGORITHM: Final = "AES-CCM-16-64-128"
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class OscoreKeys(NamedTuple):
    """One security context, as a device needs it (RFC 8613 section 3.1); all hexadecimal.

    ``device_id`` is the Sender ID of the device, ``site_id`` that of the site.
    """

    device_id: str
    site_id: str
    master_secret: str
    master_salt: str

    def told(self) -> dict[str, object]:
        """Return what the device is told."""
        return {
            "senderId": self.device_id,
            "recipientId": self.site_id,
            "masterSecret": self.master_secret,
            "masterSalt": self.master_salt,
            "algorithm": ALGORITHM,
            "hkdf": "sha256",
        }


def claim_keys(token: str) -> OscoreKeys:
    """Return the context that follows from a claim token (docs/devices.md).

    Master Secret and Master Salt are HKDF-SHA-256 (RFC 5869) of the token's text without a salt,
    with the infos ``hilum claim oscore secret`` and ``hilum claim oscore salt``; the device's id is
    the first seven bytes of the token's id.
    """
    secret = derive(token.encode(), b"", b"hilum claim oscore secret", 16)
    salt = derive(token.encode(), b"", b"hilum claim oscore salt", 8)
    return OscoreKeys(token[4:18], SITE_ID, secret.hex(), salt.hex())


def new_keys(random: Callable[[int], bytes]) -> OscoreKeys:
    """Return a new context; its device's id is seven random bytes."""
    return OscoreKeys(random(7).hex(), SITE_ID, random(16).hex(), random(8).hex())


class DeviceKeys:
    """The folders of keys in a site's state."""

    def __init__(self, state: Path) -> None:
        self.psk_folder = state / "psk"
        self.oscore_folder = state / "oscore"
        self._keys: dict[str, bytes] = {}

    def load(self) -> None:
        """Read the pre-shared keys, which are in memory from now on: nobody waits for them."""
        try:
            entries = [
                entry for entry in self.psk_folder.iterdir() if _IDENTITY.fullmatch(entry.name)
            ]
        except FileNotFoundError:
            return
        for entry in entries:
            try:
                self._keys[entry.name] = bytes.fromhex(entry.read_text("ascii"))
            except (OSError, ValueError) as error:
                log.warning("the pre-shared key %s cannot be used: %s", entry.name, error)

    def put_psk(self, identity: str, key: bytes) -> None:
        """Keep a pre-shared key."""
        self.psk_folder.mkdir(mode=0o700, exist_ok=True)
        write_secret(self.psk_folder / _checked(identity), key.hex().encode() + b"\n")
        self._keys[identity] = key

    def psk(self, identity: str) -> bytes | None:
        """Return a pre-shared key, None if there is none. It does not wait."""
        return self._keys.get(identity)

    def put_oscore(self, name: str, keys: OscoreKeys, principal: dict[str, str]) -> None:
        """Keep a security context; it is there as a whole or not at all."""
        self.oscore_folder.mkdir(mode=0o700, exist_ok=True)
        folder = self.oscore_folder / _checked(name)
        partial = self.oscore_folder / f".{name}.new"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700)
        settings = {
            "sender-id_hex": keys.site_id,
            "recipient-id_hex": keys.device_id,
            "algorithm": ALGORITHM,
            "kdf-hashfun": "sha256",
        }
        secret = {"secret_hex": keys.master_secret, "salt_hex": keys.master_salt}
        for file, content in (
            ("settings.json", settings),
            ("secret.json", secret),
            ("principal.json", principal),
        ):
            write_secret(partial / file, json.dumps(content).encode())
        partial.rename(folder)
        _sync(self.oscore_folder)

    def remove(self, method: str, name: str) -> None:
        """Forget a key; nothing happens if there is none."""
        if not _IDENTITY.fullmatch(name):
            return
        if method == "psk":
            self._keys.pop(name, None)
            (self.psk_folder / name).unlink(missing_ok=True)
        elif method == "oscore":
            shutil.rmtree(self.oscore_folder / name, ignore_errors=True)

    def claims(self) -> list[str]:
        """Return the ids of the claim tokens that have a security context."""
        try:
            names = [entry.name for entry in self.oscore_folder.iterdir()]
        except OSError:
            return []
        return [name.removeprefix(CLAIM) for name in names if name.startswith(CLAIM)]


def _checked(name: str) -> str:
    if not _IDENTITY.fullmatch(name):
        raise ValueError(f"{name!r} cannot be the name of a key's file")
    return name


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
