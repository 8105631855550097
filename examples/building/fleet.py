"""The devices of the library: what each is, where it is, and how it says so."""

from collections.abc import Iterator
from typing import Any, NamedTuple

MODEL = "https://library.example/model#"
FLOORS, ROOMS = 4, 10


class Sort(NamedTuple):
    """A sort of device: its class, what it gives, what it speaks, how soon it answers (ms)."""

    name: str
    type: str
    gives: str
    protocol: str
    latency: float


SORTS = (
    Sort("temperature", "brick:Temperature_Sensor", "Temperature", "mqtt", 20),
    Sort("humidity", "brick:Humidity_Sensor", "Humidity", "mqtt", 20),
    Sort("co2", "brick:CO2_Sensor", "CO2", "coap", 40),
    Sort("occupancy", "brick:Occupancy_Sensor", "Occupancy", "coap", 40),
    Sort("light", "brick:Luminaire", "Brightness", "http", 15),
)
SLOW = 400.0
"""What the sensors of the last room of each floor promise: they run on batteries."""


class Device(NamedTuple):
    """One device in one room."""

    sort: Sort
    floor: int
    room: int

    @property
    def id(self) -> str:
        """Its own name, as its manufacturer would print it."""
        return f"{self.sort.name}-{self.floor}{self.room:02d}"

    @property
    def principal(self) -> str:
        """Who it is at the site."""
        return f"device:{self.id}"

    @property
    def name(self) -> str:
        """The virtual object that stands for it."""
        return f"rooms/{self.floor}{self.room:02d}/{self.sort.name}"

    @property
    def latency(self) -> float:
        """How soon it answers, in milliseconds."""
        battery = self.room == ROOMS and self.sort.protocol != "http"
        return SLOW if battery else self.sort.latency

    def manifest(self, endpoint: str = "") -> dict[str, Any]:
        """What it registers with: its class, its place, and what its channel means."""
        level = {"latency": self.latency}
        measures = {"outputs": {"value": MODEL + self.sort.gives}, "level": level}
        obj: dict[str, Any] = {
            "name": self.name,
            "types": [self.sort.type],
            "place": f"{MODEL}room{self.floor}{self.room:02d}",
            "channels": {"value": {"types": [MODEL + self.sort.gives], "profile": measures}},
        }
        if endpoint:
            switches = {
                "category": MODEL + "Switch",
                "inputs": {"level": MODEL + "Brightness"},
                "level": level,
            }
            obj["methods"] = {"set": {"endpoints": [{"url": endpoint}], "profile": switches}}
        return {
            "apiVersion": "hilum/v1",
            "microservice": self.id,
            "version": "1.0.0",
            "lease": 3600,
            "deployment": "device",
            "objects": [obj],
        }


def fleet() -> Iterator[Device]:
    """Yield every device of the library."""
    for floor in range(1, FLOORS + 1):
        for room in range(1, ROOMS + 1):
            for sort in SORTS:
                yield Device(sort, floor, room)
