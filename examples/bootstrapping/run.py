"""The bootstrapping of an unknown device, after section 5.1 of the paper on security orchestration.

python -m examples.bootstrapping.run --over mqtt
python -m examples.bootstrapping.run --over coap
"""

import argparse
import tempfile
from pathlib import Path
from typing import Protocol

from examples.bootstrapping.coap_sensor import CoapSensor
from examples.bootstrapping.mqtt_sensor import MqttSensor
from examples.bootstrapping.site import Site

SENSOR = "device:SensorA"
CHANNEL = "broker/temperature"


class Sensor(Protocol):
    """A device, over whatever protocol; texts say what the gateway answered."""

    name: str

    def connect_as_stranger(self) -> str:
        """Try with nothing to show."""

    def connect_with_claim(self) -> str:
        """Show the claim token."""

    def connect(self) -> str:
        """Show the credential that was claimed."""

    def claim(self) -> str:
        """Claim a credential; return its id."""

    def publish(self, channel: str, value: object) -> str:
        """Publish a measurement."""

    def is_cut_off(self) -> bool:
        """Return whether the gateway has ended it."""

    def close(self) -> None:
        """Leave."""


def tell(number: int, what: str, answer: str) -> None:
    """Print a step and what came of it."""
    print(f"{number}. {what}: {answer}", flush=True)


def bootstrap(site: Site, sensor: Sensor) -> None:
    """Let a device in, and put it out again."""
    tell(1, "a device that nobody knows connects", sensor.connect_as_stranger())
    tell(2, "it shows its claim token, which is good for a claim only", sensor.connect_with_claim())
    tell(3, "it tries to publish with that", sensor.publish(CHANNEL, {"celsius": 20.5}))
    credential = sensor.claim()
    tell(4, "it claims a credential of its own", credential.partition(":")[0])
    tell(5, "it authenticates", sensor.connect())
    tell(
        6,
        "it publishes, but nobody has given it the right",
        sensor.publish(CHANNEL, {"celsius": 21}),
    )
    known = {item["id"] for item in site.ask("$site/identity/list", {})["items"]}
    if credential in known:  # the authentication is what the authorisation depends on
        site.allow("sensor-a", SENSOR, "publish", CHANNEL)
    tell(
        7, "the controller authorises it; it publishes", sensor.publish(CHANNEL, {"celsius": 21.5})
    )
    tell(8, "the context broker has", str(site.last(CHANNEL)))
    site.take_back("sensor-a")
    tell(9, "the right is taken back; it publishes", sensor.publish(CHANNEL, {"celsius": 22}))
    site.ask("$site/identity/revoke", {"principal": SENSOR})
    tell(10, "its credential is revoked; it is cut off", "yes" if sensor.is_cut_off() else "no")


def main() -> None:
    """Run it once over one protocol."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--over", choices=("mqtt", "coap"), default="mqtt")
    over = parser.parse_args().over
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = Site(folder)
        try:
            site.offer(CHANNEL)
            claim = site.ask("$site/identity/add", {"principal": SENSOR})["claim"]
            sensor: Sensor = MqttSensor(site.ready, claim)
            if over == "coap":
                sensor = CoapSensor(site.ready, claim, folder / "sensor")
            bootstrap(site, sensor)
            sensor.close()
        finally:
            site.stop()


if __name__ == "__main__":
    main()
