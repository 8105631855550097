"""What speaks to devices beside HTTP: the MQTT server, the CoAP listener."""

import asyncio
from importlib import metadata
from ipaddress import ip_network

from adapters.coap.directory.serve import Directory
from adapters.coap.directory.simple import LinkFetcher
from adapters.coap.serving.listener import CoapListener, CoapSettings, Secrets
from adapters.control.metrics import Gauge
from adapters.main.certificates import Certificates
from adapters.mqtt.server import MqttServer
from gateway.channels import Channels
from gateway.egress import Egress
from gateway.session_port import SessionStore
from gateway.settings import Config
from gateway.site import Site
from policy.model import Principal

ALPN_MQTT = ("mqtt", "http/1.1")
ALPN_COAP = ("coap",)
"""What clients ask for in TLS: of MQTT, also over WebSocket, and of CoAP (IANA ALPN registry)."""


class Devices:
    """The listeners for devices; a port is 0 where none is open."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        sessions: SessionStore,
        config: Config,
        certificates: Certificates,
    ) -> None:
        self._config = config
        clock = asyncio.get_running_loop().time
        self._mqtt = MqttServer(
            site, channels, sessions, config.mqtt, config.limits, clock, _version()
        )
        coap = CoapSettings(
            anonymous=config.coap.anonymous,
            oscore=config.site.state / "oscore" if config.coap.enabled else None,
            tcp=config.coap.tcp,
            websocket_port=config.coap.websocket_port,
            tls_port=config.coap.tls_port,
            dtls_port=config.coap.dtls_port,
            multicast=config.coap.multicast,
            unspoofable=tuple(map(ip_network, config.coap.unspoofable)),
        )
        tls = certificates.tls(config.coap if config.coap.enabled else None, ALPN_COAP)
        proofs = Secrets(tls.context, tls.identify, certificates.keys.psk)
        self._coap = CoapListener(site, channels, coap, config.limits, proofs)
        certificates.issuer.made.append(self._coap.look_for_contexts)
        self._tls = certificates.tls(config.mqtt if config.mqtt.enabled else None, ALPN_MQTT)
        self._mqtt.listener.identify = self._tls.identify
        site.watchers.access.append(self._coap.redecide)
        self._clock = clock
        self.mqtt_port = self.mqtt_websocket_port = 0
        self.coap_port = self.coap_tls_port = self.coap_dtls_port = 0

    async def listen(self) -> None:
        """Restore sessions, which go on also when nothing listens, then listen."""
        config = self._config
        websocket_port, mqtt_tls = config.mqtt.websocket_port, self._tls.context
        await self._mqtt.start()
        if config.mqtt.enabled:
            self.mqtt_port = await self._mqtt.listen(mqtt_tls)
        if config.mqtt.enabled and websocket_port is not None:
            self.mqtt_websocket_port = await self._mqtt.listen_websocket(websocket_port, mqtt_tls)
        if config.coap.enabled:
            self.coap_port = await self._coap.listen(config.coap.host, config.coap.port)
            self.coap_tls_port = self._coap.tls_port
            self.coap_dtls_port = self._coap.dtls_port

    def serve_directory(self, egress: Egress) -> None:
        """Serve the resource directory; links of devices are fetched where egress lets it."""
        service = self._coap.service
        service.places = Directory(service, LinkFetcher(egress).fetch)

    def ports(self) -> list[int]:
        """Return the ports that are open, and zeros."""
        mqtt = [self.mqtt_port, self.mqtt_websocket_port]
        return [*mqtt, self.coap_port, self.coap_tls_port, self.coap_dtls_port]

    def tick(self) -> None:
        """Every 0.1 s: what is due soon."""
        self._coap.sweep(self._clock())

    def sweep(self) -> None:
        """Once a second: time limits, wills, sessions that expire."""
        self._mqtt.sweep()

    async def drain(self, seconds: float) -> None:
        """Say goodbye to all clients."""
        await asyncio.gather(self._mqtt.drain(seconds), self._coap.drain(min(seconds, 5.0)))

    def known(self, principal: str) -> Principal | None:
        """Return who this principal is by what a device shows instead of a token (OSCORE)."""
        return self._coap.known(principal)

    def gauges(self) -> list[Gauge]:
        """What metrics show."""
        broker, listener = self._mqtt.broker, self._mqtt.listener
        return [
            *self._counters(),
            Gauge(
                "hilum_mqtt_connections",
                "Open connections of MQTT clients",
                lambda: {"": len(listener.connections)},
            ),
            Gauge(
                "hilum_mqtt_sessions",
                "MQTT sessions, connected or not",
                lambda: {"": broker.sessions},
            ),
            Gauge(
                "hilum_mqtt_subscriptions",
                "Topic filters of all MQTT sessions",
                lambda: {"": broker.subscriptions},
            ),
            Gauge(
                "hilum_coap_peers",
                "Addresses that CoAP datagrams are remembered of",
                lambda: {"": self._coap.peers},
            ),
            Gauge(
                "hilum_coap_observations",
                "Observations of CoAP clients",
                lambda: {"": self._coap.observations},
            ),
            Gauge(
                "hilum_coap_dtls_sessions",
                "DTLS sessions of CoAP clients",
                lambda: {"": self._coap.dtls_sessions},
            ),
        ]

    def _counters(self) -> list[Gauge]:
        """What went wrong with MQTT clients since the start."""
        counters, publishing = self._mqtt.engine.counters, self._mqtt.broker.publishing
        return [
            Gauge(
                "hilum_mqtt_connections_ended",
                "MQTT connections that were refused, or ended for breaking the protocol",
                lambda: {"refused": counters.refused, "protocol-error": counters.errors},
                "why",
                counts=True,
            ),
            Gauge(
                "hilum_mqtt_publications_refused",
                "PUBLISH packets that were refused, whatever their QoS",
                lambda: {"": publishing.refused},
                counts=True,
            ),
            Gauge(
                "hilum_mqtt_messages_dropped",
                "Messages that an MQTT client never got",
                lambda: {
                    "slow": counters.slow,
                    "queue-full": counters.overflow,
                    "expired": counters.expired,
                    "too-large": counters.too_large,
                },
                "why",
                counts=True,
            ),
        ]


def _version() -> str:
    try:
        return metadata.version("hilum")
    except metadata.PackageNotFoundError:
        return ""
