"""Changes written straight into the store of a site that is not running (design 7)."""

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Any

from adapters.cli.options import ADMIN_TOKEN, refuse
from adapters.cli.output import note
from adapters.store.changelog import open_store
from gateway.message import Status
from gateway.ports import StoreError
from gateway.site import SYSTEM
from policy.identity.tokens import new_token
from registry.changes import Batch, Change, TokenIssued, encode

LOG = "changes.db"


def issue_offline(
    state: Path,
    principal: str,
    kind: str,
    seconds: int,
    remark: str,
    attributes: dict[str, str],
    *,
    save: bool,
) -> dict[str, Any]:
    """Append a token to the change log; ``save`` also writes it to the state's admin.token."""
    _require_state(state)
    now = time.time()
    try:
        secret, record = new_token(
            secrets.token_bytes,
            principal=principal,
            kind=kind,
            now=now,
            lifetime=seconds,
            note=remark or "offline",
            attributes=attributes,
        )
    except ValueError as error:
        refuse(str(error), status=Status.INVALID)
    append_offline(state, TokenIssued(record))
    if save:
        _write(state / ADMIN_TOKEN, secret)
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.expires))
    return {
        "token": secret,
        "id": record.id,
        "principal": principal,
        "kind": kind,
        "expires": expires,
    }


def append_offline(state: Path, change: Change) -> None:
    """Append a change to the log of a site that is not running."""
    _require_state(state)
    try:
        asyncio.run(_append(state / LOG, change))
    except StoreError as error:
        hint = "stop `hilum serve` first, or use the command without --offline"
        refuse(str(error), status=Status.UNAVAILABLE, hint=hint)


def _require_state(state: Path) -> None:
    if not (state / LOG).is_file():
        hint = "--state names the folder that `hilum serve` keeps its state in"
        refuse(f"there is no site's state in {state}", status=Status.NOT_FOUND, hint=hint)


async def _append(path: Path, change: Change) -> None:
    store = await open_store(path)
    for finding in store.findings:
        note(finding, "yellow")
    try:
        batch = Batch(int(time.time() * 1000), SYSTEM, (change,))
        await store.append(await store.head(), [encode(batch)])
    finally:
        await store.close()


def _write(path: Path, secret: str) -> None:
    """Write the secret so that only its owner may ever read it."""
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
    partial.replace(path)
