"""The MQTT server of a site: its sessions' desk, the engine, the listener, put together."""

import secrets
import ssl
import time
from collections.abc import Callable
from functools import partial

from adapters.mqtt.desk.broker import Broker
from adapters.mqtt.desk.desk import DeskSettings
from adapters.mqtt.desk.sys import System
from adapters.mqtt.sessions.disk import StoreDisk
from adapters.mqtt.sessions.engine import Engine
from adapters.mqtt.sessions.ports import Settings
from adapters.mqtt.sessions.session import Session
from adapters.mqtt.sockets.listener import MqttListener
from gateway.channels import Channels
from gateway.session_port import SessionStore
from gateway.settings import Limits, Mqtt
from gateway.site import Site


class MqttServer:
    """What ``adapters.main`` starts, sweeps once a second, drains and closes."""

    def __init__(
        self,
        site: Site,
        channels: Channels,
        keeper: SessionStore,
        config: Mqtt,
        limits: Limits,
        clock: Callable[[], float],
        version: str = "",
    ) -> None:
        self._site = site
        self._config = config
        self._clock = clock
        self.broker = Broker(
            site, channels, keeper, desk_settings(config, limits), partial(secrets.token_hex, 8)
        )
        engine = self.engine = Engine(
            settings(config), lambda: time.time_ns() // 1_000_000, keeper, StoreDisk(keeper)
        )
        self.broker.new_session = partial(Session, engine, self.broker)
        self.listener = MqttListener(engine, self.broker, clock)
        self.system = System(site, channels, self.broker, engine.counters, clock, version)
        site.plane.providers["mqtt"] = self.broker.provider
        watchers = site.watchers
        watchers.credential.append(self.broker.end_of)
        watchers.access.append(self.broker.redecide)
        watchers.spaces.append(self.broker.redecide)

    async def start(self) -> None:
        """Restore the durable sessions; call it when the site has started, before ``listen``."""
        await self.broker.start()

    async def listen(self, tls: ssl.SSLContext | None = None) -> int:
        """Accept clients; returns the port."""
        self._site.look_at_clock()  # a call may come before the first sweep of deadlines
        return await self.listener.listen(self._config.host, self._config.port, tls)

    async def listen_websocket(self, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Accept clients over WebSocket, at ``/mqtt``; returns the port."""
        return await self.listener.listen(self._config.host, port, tls, websocket=True)

    def sweep(self) -> None:
        """Look at what is due; call it about once a second."""
        self.listener.sweep(self._clock())
        self.broker.sweep(self._site.time())
        self.system.sweep(self._clock())

    async def drain(self, seconds: float) -> None:
        """Say goodbye to all clients, then close."""
        await self.listener.drain(seconds)
        self.broker.close()


def settings(config: Mqtt) -> Settings:
    """Return the engine's limits."""
    return Settings(
        receive_maximum=config.receive_maximum,
        maximum_packet=config.packet,
        alias_maximum=config.topic_aliases,
        queue_messages=config.queue,
        queue_bytes=config.queue_bytes,
        connect_seconds=config.connect_seconds,
        keep_alive=config.keep_alive,
        connections=config.connections,
        cloudevents=config.cloudevents,
    )


def desk_settings(config: Mqtt, limits: Limits) -> DeskSettings:
    """Return the desk's limits."""
    return DeskSettings(
        anonymous=config.anonymous,
        session_expiry=config.session_expiry,
        subscriptions=config.subscriptions,
        timeout=limits.timeout,
        timeout_cap=limits.timeout_cap,
        message=limits.message,
    )
