"""S3's circuit breaker: a method that nears exhaustion gets a QualityPolicy that sheds load.

The site writes it through the change log like anybody else's, with an expiry: operators see it
with ``hilum get QualityPolicy``, may delete it, and every replica follows it.
"""

import logging
from functools import partial
from hashlib import blake2b
from typing import Final

from gateway.message import Refusal
from gateway.quality.places import Quality
from gateway.site import SYSTEM, Site
from policy.language import ManifestDoc, to_record
from policy.model import QualityPolicy
from policy.quality_rules import Rate
from registry.catalog import Catalog
from registry.changes import Change, PolicyApplied
from registry.names import Name

log = logging.getLogger("hilum.quality")

KIND: Final = "QualityPolicy"
LEAST: Final = 1.0
"""Calls a second that a method always gets."""
RESERVE: Final = 0.2
"""Share of a tightened rate that only priorities above the normal one may use."""


class Shedding:
    """Looks at the watches of a site, once a second."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def look(self) -> None:
        """Tighten what nears exhaustion; what the store cannot write is tried again next time."""
        admission = self._site.admission
        now = admission.clock()
        for (policy, revision, name), watch in tuple(admission.watches.items()):
            quality = admission.quality(name, policy)
            if quality is None or quality.revision != revision:
                del admission.watches[policy, revision, name]
                continue
            why = watch.verdict(now)
            if why:
                await self._tighten(quality, name, watch.rate, why)

    async def _tighten(self, quality: Quality, name: Name, rate: float, why: str) -> None:
        shed = quality.spec.shed
        assert shed is not None
        kept = max(rate * shed.keep, LEAST)
        said = f"{name}: {why}; QualityPolicy/{quality.name} lets {kept:.1f} calls a second pass"
        spec = QualityPolicy((name,), messages=Rate(kept), reserve=RESERVE, description=said[:1000])
        expires = int(self._site.time()) + shed.seconds
        try:
            await self._site.enact(SYSTEM, partial(_plan, quality.name, name, spec, expires))
        except Refusal as refusal:
            log.warning("%s, but that cannot be written now: %s", said, refusal.detail)
        else:
            log.warning("%s for %d s", said, shed.seconds)


def _plan(
    policy: str, name: Name, spec: QualityPolicy, expires: int, catalog: Catalog
) -> list[Change]:
    digest = blake2b(f"{policy} {name}".encode(), digest_size=8).hexdigest()
    label = f"shed-{digest}"
    old = catalog.policies.get((KIND, label))
    revision = 0 if old is None else old.revision
    document = ManifestDoc(KIND, label, {"shed-by": policy[:63]}, revision, spec, 0, expires)
    return [PolicyApplied(to_record(document, owner=SYSTEM, revision=revision + 1))]
