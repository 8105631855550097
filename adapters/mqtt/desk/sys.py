"""``$SYS/broker/…``: what the MQTT server says of itself, as channels of the site's own.

They are names like any other, ``<authority>/$SYS/…``: a policy has to name ``$SYS`` literally. One
that nobody has asked for is not published.
"""

from collections.abc import Callable

from adapters.mqtt.desk.broker import Broker
from adapters.mqtt.sessions.engine import Counters
from gateway.channels import Channels
from gateway.site import Site
from gateway.view import Route
from registry.model import EventChannel, Kind, Retain
from registry.names import Name

EVERY = 10.0
"""Seconds between two values."""
SOURCE = "site:system"


class System:
    """The ``$SYS`` channels. ``clock`` is the loop's time in seconds."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        broker: Broker,
        counters: Counters,
        clock: Callable[[], float],
        version: str,
    ) -> None:
        self._channels = channels
        self._clock = clock
        self._began = self._last = clock()
        self._asked: dict[Name, Route] = {}
        self._values: dict[Name, Callable[[], str]] = {
            Name(f"{site.authority}/$SYS/broker/{name}"): value
            for name, value in {
                "version": f"Hilum {version}".strip,
                "uptime": lambda: f"{int(clock() - self._began)} seconds",
                "clients/connected": lambda: str(broker.connected_now),
                "clients/total": lambda: str(broker.sessions),
                "clients/disconnected": lambda: str(broker.sessions - broker.connected_now),
                "subscriptions/count": lambda: str(broker.subscriptions),
                "messages/received": lambda: str(counters.received),
                "bytes/received": lambda: str(counters.bytes_received),
                "bytes/sent": lambda: str(counters.bytes_sent),
                "publish/messages/received": lambda: str(broker.publishing.received),
                "publish/messages/refused": lambda: str(broker.publishing.refused),
                "publish/messages/dropped": lambda: str(_dropped(counters)),
            }.items()
        }
        site.own(_route(site, name) for name in self._values)
        channels.appeared.append(self._appeared)

    def sweep(self, now: float) -> None:
        """Publish, if it is time to."""
        if now - self._last >= EVERY:
            self._last = now
            for route in self._asked.values():
                self._publish(route)

    def _appeared(self, route: Route) -> None:
        """Somebody asks for a value: it is there at once."""
        if route.name in self._values and route.name not in self._asked:
            self._asked[route.name] = route
            self._publish(route)

    def _publish(self, route: Route) -> None:
        value = self._values[route.name]().encode()
        self._channels.append(route, SOURCE, "text/plain", value, qos=0)


def _route(site: Site, name: Name) -> Route:
    route = Route(name, Kind.CHANNEL, "", site.view.meter_of("$SYS"))
    route.channel = EventChannel(retain=Retain(count=1))
    return route


def _dropped(counters: Counters) -> int:
    return counters.slow + counters.overflow + counters.expired + counters.too_large
