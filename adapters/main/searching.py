"""Search at a running site: its query processes, and what keeps them current."""

from adapters.control.metrics import Gauge
from adapters.sparql.pool import Pool
from gateway.directory.indexing import Indexing
from gateway.directory.replicating import Replicating
from gateway.directory.texts import Texts
from gateway.directory.views import Views
from gateway.directory.visibility import Visibility
from gateway.objects.local import LocalProvider
from gateway.objects.search import SearchObject
from gateway.objects.serve import serve_object
from gateway.settings import Config
from gateway.site import Site


class Searching:
    """The processes start with the first query that needs them."""

    def __init__(
        self, site: Site, local: LocalProvider, config: Config, views: Views, indexing: Indexing
    ) -> None:
        settings = config.search
        self.pool = Pool(settings.running, settings.waiting)
        self._texts = Texts(site, views)
        self._replicating = Replicating(indexing, self.pool, config.site.state)
        self.pool.refill = self._refill
        visibility = Visibility(site, views, indexing)
        search = SearchObject(settings, self.pool, visibility, self._texts, indexing)
        serve_object(site, local, "registry", search.handlers())

    async def stop(self) -> None:
        """End the processes."""
        await self._replicating.stop()
        await self.pool.stop()

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        pool = self.pool
        return [
            Gauge("hilum_queries_running", "Queries that run", lambda: {"": pool.busy}),
            Gauge("hilum_queries_waiting", "Queries that wait", lambda: {"": pool.waiting}),
            Gauge(
                "hilum_query_restarts",
                "How often the process that keeps the replica was started again",
                lambda: {"": pool.restarts},
            ),
        ]

    async def _refill(self) -> None:
        self._texts.unshare()
        await self._replicating.refill()
