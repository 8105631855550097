"""Who is who in the demo, and how each proves it: with a token, or a security context on CoAP."""

import json
import secrets
from pathlib import Path

PRINCIPALS = {
    "wristband": "device",
    "phone": "device",
    "weather": "service",
    "calendar": "service",
    "recommender": "service",
    "alice": "user",
    "mallory": "user",  # has a token, but no policy speaks of her
}
PROTOCOLS = {"wristband": "mqtt", "phone": "coap"}
"""What the devices speak; everything else speaks HTTP."""


def has_token(name: str) -> bool:
    """Tell whether somebody needs a token."""
    return PROTOCOLS.get(name) != "coap"


def keep(file: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    file.touch(mode=0o600)
    file.write_text(text + "\n")


def make_contexts(site: Path, folder: Path) -> None:
    """Make both sides of the security contexts of those without tokens (RFC 8613, OSCORE).

    Each side is a folder. Who reads the device's is the device; the site's also says who that is.
    """
    for name, kind in PRINCIPALS.items():
        device = folder / f"{name}.context"
        if has_token(name) or device.exists():
            continue
        keep(folder / f"{name}.token", str(device))
        secret = {"secret_hex": secrets.token_hex(16), "salt_hex": secrets.token_hex(8)}
        for side, sender, recipient in ((site / name, "00", "01"), (device, "01", "00")):
            side.mkdir(mode=0o700, parents=True)
            ids = {"sender-id_hex": sender, "recipient-id_hex": recipient}
            keep(side / "settings.json", json.dumps({**ids, "algorithm": "AES-CCM-16-64-128"}))
            keep(side / "secret.json", json.dumps(secret))
        who = {"principal": f"{kind}:{name}", "kind": kind}
        keep(site / name / "principal.json", json.dumps(who))
