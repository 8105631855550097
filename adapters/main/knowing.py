"""What a site knows of its world: ontologies, and the shapes of good descriptions."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adapters.control.metrics import Gauge
from gateway.directory.indexing import Indexing
from gateway.directory.ontologies import Given
from gateway.directory.shapes import ShapeChecks
from gateway.objects.local import LocalProvider
from gateway.objects.ontologies import LARGE, OntologiesObject
from gateway.objects.serve import serve_object
from gateway.objects.warnings import WarningsObject
from gateway.settings import Registry
from gateway.site import Site
from policy.model import Action, Principal
from registry.names import Name


class Knowing:
    """The index that follows a site, with the ontologies that it is built of."""

    def __init__(self, site: Site, local: LocalProvider, settings: Registry, file: Path) -> None:
        self._site = site
        self._given = Given(settings)
        self.indexing = Indexing(site, file, self._given.texts)
        self.checks = ShapeChecks(site, self.indexing)
        ontologies = OntologiesObject(site, self._given, self.indexing)
        for handlers in (ontologies.handlers(), WarningsObject(site, self.checks).handlers()):
            serve_object(site, local, "registry", handlers)
        for method in LARGE:
            name = Name(f"{site.authority}/$site/registry/{method}")
            local.widen(name, ontologies.limit)

    async def start(self) -> None:
        """Read the files, and begin to build the index; raises ConfigError for bad files."""
        await asyncio.to_thread(self._given.read)
        self.indexing.start()
        self.checks.start()

    def warnings(self, name: Name, principal: Principal) -> list[dict[str, Any]]:
        """Return what the shapes found of an object, as far as somebody may describe it."""
        return self.checks.shown(
            name, lambda member: self._site.allowed(principal, Action.DESCRIBE, member)
        )

    async def stop(self) -> None:
        """End what goes on."""
        await self.checks.stop()
        await self.indexing.stop()

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        checks, indexing = self.checks, self.indexing
        return [
            _gauge("index_triples", "Triples of the index", lambda: len(indexing.index)),
            _gauge(
                "index_failures",
                "Objects left out of the index",
                lambda: len(indexing.failures),
            ),
            _gauge("shapes_waiting", "Objects that wait for a check", lambda: checks.waiting),
            _gauge("shape_checks", "Checks of objects", lambda: checks.done, counts=True),
            _gauge(
                "shape_checks_failed",
                "Checks of objects that failed",
                lambda: checks.failed,
                counts=True,
            ),
            _gauge("shape_warnings", "Findings of shapes, by severity", lambda: 0)._replace(
                read=checks.findings, label="severity"
            ),
        ]


def _gauge(name: str, says: str, read: Callable[[], int], *, counts: bool = False) -> Gauge:
    return Gauge(f"hilum_{name}", says, lambda: {"": read()}, counts=counts)
