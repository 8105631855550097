"""The directory of what is registered: its parts, and how they start and stop."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from adapters.control.directory import Surfaces
from adapters.control.metrics import Gauge
from adapters.control.server import ControlServer
from adapters.main.announcing import Announcing
from adapters.main.certificates import Certificates
from adapters.main.following import Followings
from adapters.main.knowing import Knowing
from adapters.main.searching import Searching
from gateway.config import is_loopback
from gateway.directory.expiry import Expiries
from gateway.directory.extending import Extending
from gateway.directory.feed import Feed
from gateway.directory.finding import Finding
from gateway.directory.telling import Telling
from gateway.directory.views import Views
from gateway.objects.answers import CheckEndpoint
from gateway.objects.describe import DescribeObject
from gateway.objects.discovery import DiscoveryObject
from gateway.objects.local import LocalProvider
from gateway.objects.own_description import OwnDescription
from gateway.objects.resource_directory import ResourceDirectory
from gateway.objects.serve import serve_object
from gateway.objects.sharing import SharingObject
from gateway.objects.things import ThingsObject
from gateway.objects.things_reading import ReadingObject
from gateway.settings import Config, Listen
from gateway.site import Site
from policy.model import Action
from registry.things import validation
from registry.things.view import Bases


class Ports(NamedTuple):
    """The ports of the other listeners, 0 where none is open."""

    http: int
    control: int
    mqtt: int
    coap: int


class Directory:
    """What describes, finds and announces what is registered."""

    def __init__(
        self,
        site: Site,
        local: LocalProvider,
        config: Config,
        check_endpoint: CheckEndpoint,
        certificates: Certificates,
        random: Callable[[int], bytes],
    ) -> None:
        self._site = site
        self._config = config
        self._certificates = certificates
        self._server: ControlServer | None = None
        self.port = 0
        self.views = Views(site, Bases())
        self.feed = Feed(site)
        self.surfaces = Surfaces(self.feed, Telling(site, self.views))
        self.knowing = Knowing(site, local, config.registry, config.site.state / "index.nq")
        self.indexing = self.knowing.indexing
        self._extending = Extending(site, self.indexing)
        self.finding = Finding(site, self.indexing)
        self.searching = Searching(site, local, config, self.views, self.indexing)
        self._expiries = Expiries(site)
        self._own = OwnDescription(site)
        self._own.serve(local)
        self._endpoints = ResourceDirectory(site, check_endpoint)
        self._announcing = Announcing(config)
        describe = DescribeObject(
            site, lambda: self.views.bases, lambda: self.indexing.index.closure
        )
        local.serve_action(Action.DESCRIBE, describe.describe)
        for handlers in (
            describe.handlers(),
            self._endpoints.handlers(),
            ThingsObject(
                site,
                self.views,
                check_endpoint,
                random,
                unknown_contexts=config.directory.unknown_contexts,
            ).handlers(),
            ReadingObject(site, self.views, self.feed, self.knowing.warnings).handlers(),
            DiscoveryObject(site, self.finding).handlers(),
            SharingObject(site, self.views, self.feed).handlers(),
        ):
            serve_object(site, local, "registry", handlers)

        clock = asyncio.get_running_loop().time
        self.followings = Followings(site, local, config, self.indexing, self.finding.silent, clock)

    async def start(self) -> None:
        """Begin, once the change log is replayed."""
        validation.prepare()
        self.views.load()
        self.feed.load()
        self._expiries.load()
        await self.knowing.start()
        self._extending.start()

    async def listen(self, ports: Ports) -> int:
        """Listen, and announce what is open, once the other listeners are; returns the port."""
        config = self._config.directory
        port = ports.control
        listen: Listen = self._config.control
        if config.enabled:
            tls = self._certificates.tls(config)
            server = ControlServer(self._site, config, self._config.site.state, (), tls.context)
            server.identify = tls.identify
            self.port = port = await server.start_directory(self.surfaces)
            self._server, listen = server, config
        url = self._url("directory", "http", listen, port)
        self._own.base = url
        self.views.bases = self._bases(ports)
        self.followings.start()
        self._endpoints.lookup.base = self.views.bases.coap
        await self._announcing.start(ports.http, self.port, ports.coap)
        return self.port

    def sweep(self) -> None:
        """Once a second."""
        self._expiries.sweep()
        self.indexing.sweep()
        self.followings.sweep()

    async def stop(self) -> None:
        """End what goes on, before the site stops."""
        await self._announcing.stop()
        if self._server is not None:
            await self._server.stop()
        await self.searching.stop()
        await self.followings.stop()
        await self.finding.stop()
        await self._extending.stop()
        await self.knowing.stop()

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        things = self._site.catalog.things
        return [
            *self.knowing.gauges(),
            *self.searching.gauges(),
            *self.followings.gauges(),
            Gauge(
                "hilum_things",
                "Thing Descriptions that were submitted",
                lambda: {"": len(things)},
            ),
            Gauge(
                "hilum_descriptions_waiting",
                "Descriptions that wait to be read in other vocabularies",
                lambda: {"": self._extending.waiting},
            ),
            Gauge(
                "hilum_descriptions_missed",
                "Descriptions that were not: too many waited",
                lambda: {"": self._extending.missed},
                counts=True,
            ),
        ]

    # Inside

    def _bases(self, ports: Ports) -> Bases:
        config = self._config
        http = self._url("http", "http", config.http, ports.http)
        open_to_all = {"mqtt": config.mqtt.anonymous, "coap": config.coap.anonymous}
        return Bases(
            http=http,
            ws="ws" + http.removeprefix("http") if http else "",
            mqtt=self._url("mqtt", "mqtt", config.mqtt, ports.mqtt),
            coap=self._url("coap", "coap", config.coap, ports.coap),
            anonymous=tuple(protocol for protocol, is_open in open_to_all.items() if is_open),
        )

    def _url(self, key: str, scheme: str, listen: Listen, port: int) -> str:
        """Return where a listener is reached, "" where it is not open.

        A listener on another address than loopback is reached by the site's name: it answers to no
        other.
        """
        if not port:
            return ""
        if key in self._config.directory.public:
            return self._config.directory.public[key].rstrip("/")
        local = is_loopback(listen.host)
        host = listen.host if local else self._site.authority
        host = f"[{host}]" if ":" in host else host
        secure = scheme in ("http", "mqtt") and listen.tls_certificate is not None
        return f"{scheme}{'s' if secure else ''}://{host}:{port}"
