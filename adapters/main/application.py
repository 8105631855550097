"""A running site: the stores, the site, its listeners, and how they start and stop."""

import asyncio
import gc
import logging
import os
import random
import secrets
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from adapters.control.metrics import Gauge
from adapters.control.server import ControlServer
from adapters.descriptors import allow_descriptors
from adapters.http.serving.events import EventStreams
from adapters.http.serving.listener import Listener, Takeovers
from adapters.http.upstream.assertion import service_key
from adapters.http.upstream.probe import Prober
from adapters.http.upstream.provider import HttpProvider
from adapters.http.websockets.socket import Sockets
from adapters.main.certificates import Certificates
from adapters.main.devices import Devices
from adapters.main.directory import Directory, Ports
from adapters.main.first_use import FirstUses
from adapters.main.identity import Issuers
from adapters.main.login import login_of
from adapters.main.outbound import Outbound
from adapters.main.quality import Quality
from adapters.main.seeing import Seeing
from adapters.malloc import tune_malloc
from adapters.store.changelog import open_store
from adapters.store.eventlog import open_event_log
from gateway.bootstrap import bootstrap
from gateway.channels import Channels, masks
from gateway.deliveries import Deliveries
from gateway.egress import Egress
from gateway.first_use.holding import refuse_standing
from gateway.objects.local import LocalProvider
from gateway.objects.serve import serve_objects
from gateway.settings import Config, Listen, Remote
from gateway.site import Clocks, Identity, Site
from policy.model import Principal

log = logging.getLogger("hilum")

SWEEP_SECONDS = 0.1
"""How exact deadlines are (design 4)."""
SWITCH_SECONDS = 0.0005
"""How long the loop waits at most for a thread of ours that computes; CPython's default is 5 ms."""


class Application:
    """A running site with its listeners; ``run`` ends when it is told to stop."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.stopping = asyncio.Event()
        self.http_port = 0
        self.control_port = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the stores, replay, and listen."""
        config = self.config
        state = config.site.state
        loop = asyncio.get_running_loop()
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = await open_store(state / "changes.db", keep_entries=config.store.keep_entries)
        self.events = await open_event_log(state / "events.db")
        for finding in (*self.store.findings, *self.events.findings):
            log.warning("%s", finding)
        local = LocalProvider(config.limits.message)
        identity = Identity(
            config.site.authority,
            frozenset(config.site.aliases),
            frozenset(remote.authority for remote in config.remote),
        )
        clocks = Clocks(loop.time, time.time, lambda now: time.localtime(now).tm_gmtoff)
        self.site = Site(identity, self.store, local, clocks, config.store.snapshot_every)
        self.channels = Channels(
            self.events,
            time_ms=lambda: time.time_ns() // 1_000_000,
            incarnation=lambda: secrets.token_hex(4),
            keeper=self.events.sessions,
            limit=config.limits.message,
        )
        local.woke = self.site.look_at_clock
        self.seeing = Seeing(self.site, config)
        await self.seeing.start(self.store)
        self.quality = Quality(self.site, state)
        self.channels.accounts = self.site.accounts
        self.issuers = Issuers(self.site.identity, config, loop.time)
        self._wire(local)
        self.seeing.serve(local, self.channels)
        self._watch()
        await bootstrap(self.site, self.store, state / "admin.token", secrets.token_bytes)
        await self._replay()
        await self.quality.start()
        self.deliveries.reconcile(self.site.policies.deliveries)
        self.outbound.start()
        await self.certificates.start()
        await self._listen()
        self._go_on()

    def _go_on(self) -> None:
        """Begin what goes on for as long as the site runs."""
        loop = asyncio.get_running_loop()
        works = [*self.certificates.work(), *self.issuers.work()]
        works += [
            Prober(self.site.view, self.egress).run(),
            self._sweep(loop.time),
            self._slow(),
            self.quality.run(),
        ]
        self._tasks += [loop.create_task(work) for work in works]

    async def stop(self) -> None:
        """Drain the listeners, then close the stores."""
        log.info("draining")
        self.site.draining = True
        seconds = self.config.limits.drain_seconds
        await asyncio.gather(self.listener.drain(seconds), self.devices.drain(seconds))
        await self.control.stop()
        await self.directory.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.first_uses.close()
        await self.deliveries.close()
        await self.outbound.close()
        await self.channels.close()
        self.http.close()
        await self.quality.close()
        self.issuers.close()
        await self.site.stop()
        await self.store.close()
        await self.events.close()
        await asyncio.to_thread(self.seeing.close)

    async def _replay(self) -> None:
        """Start the site without the garbage collector: a replay makes much that lives, no garbage.

        Measured: half the time at 100,000 bindings, which later collections then leave alone.
        """
        gc.disable()
        try:
            await self.site.start()
            await self.directory.start()
        finally:
            gc.enable()
        gc.freeze()

    def _wire(self, local: LocalProvider) -> None:
        """Make providers and objects, and tell them of each other."""
        config, site = self.config, self.site
        key = _site_key(config.site.state / "site.key")
        self.certificates = Certificates(site, config)
        self.egress = Egress(config.egress.allow)
        self.http = HttpProvider(
            site.plane,
            self.egress,
            key,
            time.time,
            config.upstream,
            {remote.url.rstrip("/"): _credential(remote) for remote in config.remote},
            config.limits.message,
            self.certificates.secrets.find,
        )
        site.plane.providers["http"] = self.http
        self.takeovers = self._take_over()
        self.outbound = Outbound(site, self.channels, self.egress, key, config, self._principal_of)
        self.devices = Devices(site, self.channels, self.events.sessions, config, self.certificates)
        self.deliveries = Deliveries(
            site.plane,
            self.channels,
            self.events,
            principal_of=self._principal_of,
            random=random.random,
        )
        serve_objects(
            site,
            local,
            self.channels,
            self.events,
            self.deliveries,
            check_endpoint=self.egress.check_url,
            service_key=lambda owner, microservice: service_key(key, owner, microservice),
            random=secrets.token_bytes,
        )
        self.certificates.serve(local)
        self.directory = Directory(
            site, local, config, self.egress.check_url, self.certificates, secrets.token_bytes
        )
        self.first_uses = FirstUses(site, local, config, self._principal_of)

    def _principal_of(self, owner: str) -> Principal | None:
        """Return who an owner is now, by a token or a security context; None: by nothing."""
        known = self.site.identity.known(owner)
        return known or self.devices.known(owner)

    def _take_over(self) -> Takeovers:
        """Make what takes HTTP connections over: event streams and WebSockets."""
        streams = EventStreams(self.site.plane, self.channels)
        sockets = self.sockets = Sockets(self.site, self.channels, self.config.limits)
        self.site.plane.providers["socket"] = sockets.provider

        def drain() -> None:
            streams.drain()
            sockets.drain()

        return Takeovers(streams.stream, sockets.socket, drain)

    def _gauges(self) -> list[Gauge]:
        """What metrics show of the listener and its upstreams."""
        return [
            Gauge(
                "hilum_connections",
                "Open connections of the data listener",
                lambda: {"": len(self.listener.connections)},
            ),
            Gauge(
                "hilum_upstream_connections",
                "Open connections to endpoints",
                lambda: {"": self.http.connections()},
            ),
            *self.devices.gauges(),
            *self.outbound.gauges(),
            *self.first_uses.gauges(),
            *self.seeing.gauges(),
            *self.directory.gauges(),
            *self.quality.gauges(),
        ]

    def _watch(self) -> None:
        """Let what is open follow what is in force."""
        site, channels = self.site, self.channels
        watchers = site.watchers
        channels.sight.mask_of = masks(site.plane)
        site.plane.limit = self.config.limits.message
        watchers.gone.append(channels.forget)
        watchers.credential.append(channels.end_of)
        watchers.access.append(lambda: channels.redecide(partial(refuse_standing, site.plane)))
        watchers.credential.append(self.sockets.end_of)
        watchers.access.append(self.sockets.redecide)
        watchers.spaces.append(lambda: channels.look_at_spaces(site.view.find))
        watchers.deliveries.append(lambda: self.deliveries.reconcile(site.policies.deliveries))

    async def _listen(self) -> None:
        config, site = self.config, self.site
        clock = asyncio.get_running_loop().time
        self.listener = Listener(site, config.limits, self.takeovers, clock)
        site.watchers.credential.append(self.listener.end_of)
        tls = self.certificates.tls(config.http)
        self.listener.identify = tls.identify
        self.http_port = await self.listener.listen(config.http.host, config.http.port, tls.context)
        self.egress.own(self.http_port)
        await self._listen_to_devices()
        control_tls = self.certificates.tls(config.control)
        login = login_of(site, config, self.issuers, clock)
        self.control = ControlServer(
            site,
            config.control,
            config.site.state,
            self._gauges(),
            control_tls.context,
            login,
            self.directory.surfaces,
        )
        self.control.identify = control_tls.identify
        self.control_port = await self.control.start()
        self.egress.own(self.control_port)
        self.egress.own(await self.directory.listen(self._ports()))
        log.info("data listener on %s", _url(config.http, self.http_port))
        log.info("control API on %s", _url(config.control, self.control_port))

    def _ports(self) -> Ports:
        devices = self.devices
        return Ports(self.http_port, self.control_port, devices.mqtt_port, devices.coap_port)

    async def _listen_to_devices(self) -> None:
        config, devices = self.config, self.devices
        devices.serve_directory(self.egress)
        await devices.listen()
        if devices.mqtt_port:
            log.info("MQTT on %s port %d", config.mqtt.host, devices.mqtt_port)
        if devices.coap_port:
            log.info("CoAP on %s port %d", config.coap.host, devices.coap_port)
        for port in devices.ports():
            self.egress.own(port)

    async def _sweep(self, clock: Callable[[], float]) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.site.plane.sweep(clock())
            self.site.tick()
            self.devices.tick()

    async def _slow(self) -> None:
        """What is looked at once a second: leases, idle connections, expired tokens."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(1.0)
            self.http.sweep(clock())
            self.devices.sweep()
            self.directory.sweep()
            self.outbound.sweep()
            self.seeing.sweep()
            due = self.site.due(clock())
            if due:
                await self.site.expire(due)
            await self.site.sweep_policies()
            self.first_uses.tick()
            await self.site.sweep_tokens()


async def _run(config: Config, ready: Callable[[Application], None]) -> None:
    application = Application(config)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, application.stopping.set)
    await application.start()
    ready(application)
    try:
        await application.stopping.wait()
    finally:
        await application.stop()


def serve(config: Config, ready: Callable[[Application], None]) -> None:
    """Run a site until SIGTERM or SIGINT; ``ready`` is told when it serves."""
    tune_malloc()
    allow_descriptors(config.limits.connections)
    sys.setswitchinterval(SWITCH_SECONDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, ready))


def _site_key(path: Path) -> bytes:
    """Return the site's secret, made at the first start; only its owner may read it."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(32)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        return key


def _credential(remote: Remote) -> bytes:
    if remote.token_file is None:
        return b""
    return b"Authorization: Bearer %b\r\n" % remote.token_file.read_bytes().strip()


def _url(listen: Listen, port: int) -> str:
    scheme = "https" if listen.tls_certificate else "http"
    return f"{scheme}://{listen.host}:{port}"
