"""The directory of what is registered: its parts, and how they start and stop."""

from collections.abc import Callable
from typing import NamedTuple

from adapters.control.metrics import Gauge
from adapters.main.certificates import Certificates
from gateway.objects.answers import CheckEndpoint
from gateway.objects.local import LocalProvider
from gateway.settings import Config
from gateway.site import Site


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

    async def start(self) -> None:
        """Begin, once the change log is replayed."""

    async def listen(self, ports: Ports) -> None:
        """Listen, and announce what is open, once the other listeners are."""

    def sweep(self) -> None:
        """Once a second."""

    async def stop(self) -> None:
        """End what goes on, before the site stops."""

    def gauges(self) -> list[Gauge]:
        """What metrics show of it."""
        return []
