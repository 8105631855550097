"""The first start: an administrator's token and the policies a site begins with (design 7)."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from gateway.ports import Store
from gateway.site import SYSTEM, Site
from policy.identity.tokens import new_token
from policy.language import ManifestDoc, to_record
from policy.model import ADMINISTRATOR, AccessPolicy, Action, Subject
from registry.changes import Batch, PolicyApplied, TokenIssued, encode

log = logging.getLogger("hilum.bootstrap")

NEWCOMER = "newcomer"
"""The kind of who presents a claim token."""
ADMIN = "site:admin"
ADMIN_TTL = 10 * 365 * 24 * 3600

ADMINISTRATORS = AccessPolicy(
    effect="allow",
    subjects=(Subject(kind=ADMINISTRATOR),),
    actions=tuple(Action),
    names=("**", "$site/**"),
    groups=("*",),
    description="Administrators may do everything. Written at the first start; yours to change.",
)
SELF_SERVICE = AccessPolicy(
    effect="allow",
    subjects=(Subject(kind="service"), Subject(kind="device")),
    actions=(Action.CALL,),
    names=("$site/registry/**", "$site/identity/rotate"),
    description="Services and devices reach the registry, where each name is decided again, and "
    "change their own credentials.",
)
PROVISIONING = AccessPolicy(
    effect="allow",
    subjects=(Subject(kind=NEWCOMER),),
    actions=(Action.CALL,),
    names=("$site/identity/claim",),
    description="Who has a claim token may exchange it for a credential, and do nothing else.",
)


async def bootstrap(
    site: Site, store: Store, token_file: Path, random: Callable[[int], bytes]
) -> None:
    """Write the first entry of an empty log, after the token is safe in its file."""
    if await store.head() > 0:
        return
    now = site.time()
    secret, token = new_token(
        random, principal=ADMIN, kind=ADMINISTRATOR, now=now, lifetime=ADMIN_TTL, note="first"
    )
    await asyncio.to_thread(_write, token_file, secret)
    policies = {
        "administrators": ADMINISTRATORS,
        "self-service": SELF_SERVICE,
        "provisioning": PROVISIONING,
    }
    changes = [
        PolicyApplied(
            to_record(ManifestDoc("AccessPolicy", name, {}, 0, spec), owner=SYSTEM, revision=1)
        )
        for name, spec in policies.items()
    ]
    batch = Batch(int(now * 1000), SYSTEM, (TokenIssued(token), *changes))
    await store.append(0, [encode(batch)])
    log.info("the administrator's token is in %s", token_file)


def _write(path: Path, secret: str) -> None:
    """Write a secret that only its owner may read, before anything depends on it."""
    partial = path.with_suffix(".new")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
