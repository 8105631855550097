"""The MQTT servers that are compared: both know their callers, both ask an access list."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import workload
from bench.hilum import Hilum
from bench.process import GATEWAY_CORE, Process, find_program, free_port, wait_for_port

Login = tuple[str, str]
"""A user name and a password."""
OBJECT = "Bench"
TOPICS = tuple(f"{OBJECT}/c{number:02d}" for number in range(16))
SESSIONS = 10_000


class Broker:
    """A running MQTT server; ``stop`` ends it."""

    def __init__(
        self,
        name: str,
        process: Process,
        port: int,
        logins: Sequence[Login],
        stop: Callable[[], None],
    ) -> None:
        self.name = name
        self.process = process
        self.port = port
        self.logins = logins
        self.stop = stop


def start_mosquitto(folder: Path) -> Broker:
    """Start mosquitto with a password file and an access list, and without its default limits."""
    port = free_port()
    folder.mkdir()
    users = [workload.caller(number).replace(":", "-") for number in range(workload.CALLERS)]
    passwords = folder / "passwords"
    passwords.write_text("".join(f"{user}:{user}-secret\n" for user in users))
    subprocess.run([find_program("mosquitto_passwd"), "-U", str(passwords)], check=True)
    access = folder / "access"
    access.write_text("".join(f"user {user}\ntopic readwrite {OBJECT}/+\n" for user in users))
    for file in (passwords, access):
        file.chmod(0o600)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\n"
        f"password_file {passwords}\nacl_file {access}\npersistence false\nlog_type error\n"
        # As many as fit under way and queued, so that the window is the load's.
        "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
    )
    command = [find_program("mosquitto"), "-c", str(config)]
    process = Process("mosquitto", command, GATEWAY_CORE, folder / "log")
    wait_for_port(process, port)
    logins = [(user, f"{user}-secret") for user in users]
    return Broker("mosquitto", process, port, logins, process.stop)


def start_hilum(folder: Path, name: str = "Hilum") -> Broker:
    """Start a site with channels, and callers who may use them, with everything on."""
    site = Hilum(folder, name, compiled=name != "Hilum")
    site.register(channels())
    site.guard([{"kind": workload.CALLER_KIND}], ["publish", "subscribe"], [f"{OBJECT}/*"])
    logins = [(f"caller{n}", token) for n, token in enumerate(site.callers())]
    return Broker(name, site.process, site.mqtt_port, logins, site.stop)


def mosquitto_version() -> str:
    """Return what mosquitto says of itself."""
    said = subprocess.run([find_program("mosquitto"), "-h"], capture_output=True, text=True)
    return said.stdout.partition("\n")[0].removeprefix("mosquitto version ")


def channels() -> dict[str, Any]:
    """Return the manifest of the microservice whose channels are published to."""
    members: dict[str, Any] = {topic.rpartition("/")[2]: {} for topic in TOPICS}
    return {
        "microservice": "Bench",
        "instance": "a",
        "objects": [{"name": OBJECT, "channels": members}],
    }
