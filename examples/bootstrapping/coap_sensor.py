"""The sensor over CoAP: OSCORE protects its claim too, by keys that follow from the token."""

import asyncio
import hmac
import json
import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

from aiocoap import POST, Context, Message
from aiocoap.oscore import FilesystemSecurityContext, NotAProtectedMessage

PATIENCE = 10.0
JSON = 50


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """Return derived key material of at most 32 bytes (RFC 5869 with SHA-256, without a salt)."""
    key = hmac.digest(bytes(32), secret, sha256)
    return hmac.digest(key, info + b"\x01", sha256)[:length]


def keys_of(token: str) -> dict[str, str]:
    """Return the security context that follows from a claim token ``hlm_<id>_<secret>``."""
    return {
        "senderId": token[4:18],
        "recipientId": "00",
        "masterSecret": hkdf(token.encode(), b"hilum claim oscore secret", 16).hex(),
        "masterSalt": hkdf(token.encode(), b"hilum claim oscore salt", 8).hex(),
    }


class CoapSensor:
    """A device that knows where its gateway is, and the claim token that it was given."""

    name = "CoAP"

    def __init__(self, addresses: dict[str, str], claim: str, folder: Path) -> None:
        logging.getLogger("coap").setLevel(logging.CRITICAL)
        self._url = addresses["coap"]
        self._claim = claim
        self._folder = folder
        self._context: Path | None = None
        self._keys: dict[str, str] = {}

    def connect_as_stranger(self) -> str:
        """Ask with nothing to show."""
        self._context = None
        return self._post("$site/identity/claim", {})[0]

    def connect_with_claim(self) -> str:
        """Ask for something under the keys of the claim token: discovery shows nothing to it."""
        self._context = self._written("claim", keys_of(self._claim))
        return self._post("$site/registry/list", {})[0]

    def connect(self) -> str:
        """Go on with the credential of one's own; there is nothing to connect."""
        self._context = self._written("own", self._keys)
        return "ready"

    def claim(self) -> str:
        """Exchange the claim token for a security context; return its id."""
        code, answer = self._post("$site/identity/claim", {"want": "oscore"})
        if not code.startswith("2."):
            raise RuntimeError(f"the claim was answered {code}: {answer}")
        self._keys = answer
        return str(answer["id"])

    def publish(self, channel: str, value: object) -> str:
        """Publish a measurement; return what became of it."""
        return self._post(channel, value)[0]

    def is_cut_off(self) -> bool:
        """Return whether the gateway knows the security context no longer."""
        return self._post("$site/registry/list", {})[0].startswith("4.01")

    def close(self) -> None:
        """Nothing is open."""

    def _written(self, name: str, keys: dict[str, str]) -> Path:
        """Write a security context as aiocoap reads it."""
        folder = self._folder / name
        if not folder.exists():
            folder.mkdir(parents=True)
            settings = {"sender-id_hex": keys["senderId"], "recipient-id_hex": keys["recipientId"]}
            (folder / "settings.json").write_text(json.dumps(settings))
            secret = {"secret_hex": keys["masterSecret"], "salt_hex": keys["masterSalt"]}
            (folder / "secret.json").write_text(json.dumps(secret))
        return folder

    def _post(self, name: str, document: object) -> tuple[str, Any]:
        return asyncio.run(self._ask(name, document))

    async def _ask(self, name: str, document: object) -> tuple[str, Any]:
        context = await Context.create_client_context(transports=["oscore", "simple6"])
        secret = None
        if self._context is not None:
            secret = FilesystemSecurityContext(str(self._context))
            context.client_credentials[f"{self._url}/*"] = secret
        request = Message(
            code=POST,
            uri=f"{self._url}/{name}",
            payload=json.dumps(document).encode(),
            content_format=JSON,
        )
        try:
            answer = await asyncio.wait_for(context.request(request).response, PATIENCE)
        except NotAProtectedMessage as plain:  # the gateway does not know the context
            answer = plain.plain_message
        finally:
            context.client_credentials.clear()
            await context.shutdown()
            if secret is not None:
                secret._destroy()  # noqa: SLF001 (it writes the sequence numbers)
        said = json.loads(answer.payload) if answer.payload[:1] == b"{" else None
        return str(answer.code), said
