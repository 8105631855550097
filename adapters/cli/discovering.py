"""The commands for descriptions, ontologies and discovery, with examples for their help."""

from typing import Final

from adapters.cli import discover, endpoint_secrets, things
from adapters.cli.commands import FINDING, OPERATION, Command

DISCOVERY_GROUPS: Final = {
    "thing": "Thing Descriptions.",
    "endpoint-secret": "How the gateway authenticates at endpoints.",
}
DISCOVERY: Final = (
    Command(
        "discover",
        discover.discover,
        FINDING,
        (
            "hilum discover --type brick:Temperature_Sensor --place 'Floor 2'",
            "hilum discover --capability td:EventAffordance --max-latency-ms 50",
            "hilum discover --near 33.42,-111.93 --output json",
        ),
    ),
    Command(
        "thing list",
        things.list_things,
        FINDING,
        ("hilum thing list", "hilum thing list --sort -modified --output json"),
    ),
    Command(
        "thing get",
        things.get,
        FINDING,
        ("hilum thing get urn:example:lamp", "hilum thing get urn:example:lamp --submitted"),
    ),
    Command("thing put", things.put, FINDING, ("hilum thing put lamp.td.json",)),
    Command(
        "thing patch",
        things.patch,
        FINDING,
        (
            "hilum thing patch urn:example:lamp changes.json",
            "echo '{\"description\": null}' | hilum thing patch urn:example:lamp -",
        ),
    ),
    Command("thing delete", things.delete, FINDING, ("hilum thing delete urn:example:lamp",)),
    Command(
        "endpoint-secret put",
        endpoint_secrets.put,
        OPERATION,
        (
            "hilum endpoint-secret put lamp basic_sc --user admin",
            "hilum endpoint-secret put lamp token --bearer --stdin < token",
            "hilum endpoint-secret put lamp key --api-key X-API-Key --in header",
        ),
    ),
    Command(
        "endpoint-secret list",
        endpoint_secrets.list_secrets,
        OPERATION,
        ("hilum endpoint-secret list", "hilum endpoint-secret list lamp --output json"),
    ),
    Command(
        "endpoint-secret delete",
        endpoint_secrets.delete,
        OPERATION,
        ("hilum endpoint-secret delete lamp basic_sc",),
    ),
)
