"""A library whose 200 devices are found by what they mean, and its annex, a site of its own.

python -m examples.building.run            once, and end
python -m examples.building.run --stay     go on, to try commands

The devices register over MQTT, CoAP and HTTP, each as a principal of its own.
"""

import argparse
import asyncio
import signal
import socket
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from examples.bootstrapping.site import Site
from examples.building.by_http import HttpDevice, Luminaires
from examples.building.fleet import MODEL, Device, fleet
from examples.building.joining import join, make_contexts

REMOTE = """
[[remote]]
authority = "{authority}"
url = "http://{address}"
token_file = "{token}"
follow = true
"""
PATIENCE = 20.0
console = Console()


class Town:
    """The two sites, each a follower of the other."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.devices = list(fleet())
        addresses = {name: f"127.0.0.1:{_free_port()}" for name in ("library", "annex")}
        sites: dict[str, Site] = {}
        for name, other in (("library", "annex"), ("annex", "library")):
            place = folder / name
            place.mkdir()
            token = place / "remote.token"
            token.write_text("not yet")
            if name == "library":
                make_contexts(place / "state", folder / "devices", self.devices)
            remote = REMOTE.format(
                authority=f"{other}.example", address=addresses[other], token=token
            )
            sites[name] = Site(place, f"{name}.example", remote, addresses[name])
            stack.callback(sites[name].stop)
        self.library, self.annex = sites["library"], sites["annex"]

    def prepare(self) -> None:
        """Load the model, say what devices may do, and let each site follow the other."""
        model = Path(__file__).with_name("model.ttl").read_text()
        for site, other in ((self.library, "annex"), (self.annex, "library")):
            site.ask("$site/registry/ontology-load", {"name": "library", "text": model})
            site.permit(
                "devices",
                {"kind": "device"},
                ["call"],
                ["$site/registry/register", "$site/registry/renew"],
            )
            site.permit("rooms", {"kind": "device"}, ["register", "bind", "publish"], ["rooms/**"])
            principal = f"site:{other}"
            issued = site.ask(
                "$site/token/issue", {"principal": principal, "kind": "site", "ttl": 3600}
            )
            (self.folder / other / "remote.token").write_text(issued["token"])
            follower = {"principal": principal}
            site.permit("follow", follower, ["call"], ["$site/registry/share"])
            site.permit("shared", follower, ["describe"], ["rooms/**", "garden/**"])
            admin = {"kind": "administrator"}
            site.permit("abroad", admin, ["describe"], [f"{other}.example/**"])


async def fill(town: Town, luminaires: Luminaires, stack: AsyncExitStack) -> None:
    """Let all the devices register."""
    began = time.monotonic()
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("registering", total=len(town.devices))

        def joined(_: Device) -> None:
            bar.advance(task)

        folder = town.folder / "devices"
        await join(town.library, folder, town.devices, luminaires, stack, joined)
    spoken = Counter(device.sort.protocol for device in town.devices)
    told = ", ".join(f"{count} by {name.upper()}" for name, count in spoken.items())
    seconds = time.monotonic() - began
    console.print(f"{len(town.devices)} devices registered in {seconds:.0f} s: {told}")


def discover(site: Site, **asked: object) -> list[dict[str, Any]]:
    """Return what a question finds, all pages of it."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = site.ask("$site/registry/discover", {**asked, "limit": 500, "cursor": cursor})
        found += page["items"]
        cursor = page.get("cursor") or ""
        if not cursor:
            return found


def show(title: str, things: list[dict[str, Any]]) -> None:
    """Print what was found, the first few of it."""
    console.print(f"{title}: {len(things)}")
    table = Table()
    for column in ("object", "members"):
        table.add_column(column)
    for thing in things[:12]:
        members = ", ".join(member["name"].rpartition("/")[2] for member in thing["members"])
        table.add_row(thing["name"], members)
    console.print(table)


def ask_all(town: Town) -> bool:
    """Ask the questions that this building is for; return whether the answers are right."""
    library = town.library
    soon = discover(library, type="temperature", place="floor 2", maxLatencyMs=50)
    show("temperature channels on floor 2 that answer within 50 ms", soon)
    climate = discover(library, type="climate sensor", place="library")
    show("climate sensors in the library", climate)
    near = discover(library, type="luminaire", near="room 301")[:5]
    show("luminaires, those near room 301 first", near)
    wanted = {"inputs": {"x": MODEL + "Brightness"}, "category": MODEL + "Switch"}
    matches = library.ask("$site/registry/match", wanted)["items"]
    console.print(f"{len(matches)} methods take a brightness; the first: {matches[0]['name']}")
    library.ask(f"{near[0]['name'].partition('/')[2]}/set", {"level": 30})
    return (len(soon), len(climate), len(matches)) == (9, 120, 40)


def meet(town: Town) -> bool:
    """Let the annex offer something, and the library find it; return whether it did."""
    issued = town.annex.ask(
        "$site/token/issue", {"principal": "service:garden", "kind": "service", "ttl": 3600}
    )
    town.annex.permit(
        "garden",
        {"principal": "service:garden"},
        ["call", "register", "publish"],
        ["$site/registry/register", "garden/**"],
    )
    gardener = HttpDevice(town.annex.ready["http"], issued["token"])
    gardener.ask(
        "$site/registry/register",
        {
            "apiVersion": "hilum/v1",
            "microservice": "Garden",
            "version": "1.0.0",
            "lease": 3600,
            "objects": [
                {
                    "name": "garden/soil",
                    "types": ["brick:Humidity_Sensor"],
                    "channels": {"value": {"types": [MODEL + "Humidity"]}},
                }
            ],
        },
    )
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        abroad = [
            thing
            for thing in discover(town.library, type="brick:Humidity_Sensor")
            if thing["name"].startswith("annex.example/")
        ]
        if abroad:
            show("humidity sensors of the annex, as the library knows them", abroad)
            return True
        time.sleep(0.2)
    return False


async def run(*, stay: bool) -> bool:
    """Run it; return whether every answer was right."""
    with tempfile.TemporaryDirectory(prefix="hilum-building-") as name, ExitStack() as sites:
        town = Town(Path(name), sites)
        town.prepare()
        luminaires = Luminaires()
        sites.callback(luminaires.close)
        async with AsyncExitStack() as stack:
            await fill(town, luminaires, stack)
            right = await asyncio.to_thread(ask_all, town)
            right = await asyncio.to_thread(meet, town) and right
            console.print("every answer was right" if right else "some answers were wrong")
            if stay:
                console.print(f"export HILUM_URL={town.library.ready['http']}")
                console.print(f"export HILUM_TOKEN_FILE={town.library.ready['token_file']}")
                await asyncio.Event().wait()
    return right


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    """Run the example."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the sites end, too
    try:
        return 0 if asyncio.run(run(stay=parser.parse_args().stay)) else 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    raise SystemExit(main())
