"""What goes out by other protocols than HTTP: calls to brokers and CoAP servers, and sources."""

import asyncio
import random
import time
from collections.abc import Callable
from hashlib import sha256

from adapters.coap.upstream.observing import ResourceSources
from adapters.coap.upstream.provider import CoapProvider
from adapters.control.metrics import Gauge
from adapters.http.upstream.assertion import Assertions, service_key
from adapters.mqtt.outbound.brokers import Brokers
from adapters.mqtt.outbound.calls import BrokerProvider
from adapters.mqtt.outbound.sources import TopicSources
from gateway.channels import Channels
from gateway.egress import Egress
from gateway.settings import Config
from gateway.site import Site
from gateway.sources import Sources
from policy.model import Principal
from policy.resolution import Target
from registry.model import RegistrationId

KEYS = 10_000


class Outbound:
    """Providers by scheme, and the channels that are fed from outside."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        egress: Egress,
        key: bytes,
        config: Config,
        principal_of: Callable[[str], Principal | None],
    ) -> None:
        self._site = site
        self._clock = asyncio.get_running_loop().time
        limit = config.limits.message
        brokers = Brokers(egress, config.broker, sha256(b"hilum broker id\0" + key).hexdigest())
        self._calls = BrokerProvider(site.plane, brokers, _assertion(key), limit)
        self._coap = CoapProvider(site.plane, egress, limit)
        site.plane.providers["coap"] = self._coap
        topics = self._topics = TopicSources(
            brokers, random=random.random, time_ms=lambda: time.time_ns() // 1_000_000
        )
        site.plane.providers["broker"] = self._calls
        resources = ResourceSources(self._coap, random=random.random)
        self._sources = Sources(
            site.plane,
            channels,
            {"mqtt": topics, "mqtts": topics, "coap": resources, "coap+tcp": resources},
            principal_of=principal_of,
        )
        site.watchers.registrations.append(self._registered)
        site.watchers.deliveries.append(self._bound)

    def start(self) -> None:
        """Open what the replayed state declares."""
        for id_ in self._site.catalog.registrations:
            self._registered(id_)
        self._bound()

    def sweep(self) -> None:
        """Once a second: open and close what may be, by now."""
        self._sources.look()
        self._coap.sweep(self._clock())

    async def close(self) -> None:
        """Disconnect; brokers keep what is published meanwhile."""
        await self._sources.close()
        await self._calls.close()
        self._coap.close()

    def gauges(self) -> list[Gauge]:
        """What metrics show."""
        return [
            Gauge(
                "hilum_broker_connections",
                "Open connections to MQTT brokers",
                lambda: {"": self._calls.connections() + self._topics.connections()},
            ),
            Gauge(
                "hilum_coap_upstream_sockets",
                "Open sockets for calls to CoAP servers",
                lambda: {"": self._coap.connections()},
            ),
            Gauge("hilum_sources", "Sources of channels", self._counted, "state"),
        ]

    def _counted(self) -> dict[str, float]:
        why = list(self._sources.state().values())
        return {"open": why.count(""), "refused": len(why) - why.count("")}

    def _registered(self, id_: RegistrationId) -> None:
        self._sources.registered(id_, self._site.catalog.registrations.get(id_))

    def _bound(self) -> None:
        self._sources.reconcile(self._site.policies.sources)


def _assertion(key: bytes) -> Callable[[Target, Principal], str]:
    """Return what says who calls, as ``Hilum-Principal`` does over HTTP."""
    known: dict[tuple[str, str], Assertions] = {}

    def say(target: Target, principal: Principal) -> str:
        who = (target.owner, target.registration.microservice)
        assertions = known.get(who)
        if assertions is None:
            if len(known) >= KEYS:
                known.clear()
            assertions = known[who] = Assertions(service_key(key, *who))
        line = assertions.line(principal, int(time.time() // 60))
        return line.partition(b": ")[2].strip().decode()

    return say
