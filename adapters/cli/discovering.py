"""The commands for descriptions, ontologies and discovery, with examples for their help."""

from typing import Final

from adapters.cli import discover, endpoint_secrets, ontologies, query, things
from adapters.cli.commands import FINDING, OPERATION, Command

DISCOVERY_GROUPS: Final = {
    "thing": "Thing Descriptions.",
    "ontology": "What the site knows of its world.",
    "endpoint-secret": "How the gateway authenticates at endpoints.",
}
ONTOLOGIES: Final = (
    Command(
        "ontology load",
        ontologies.load,
        FINDING,
        (
            "hilum ontology load building.ttl",
            "hilum ontology load Brick.ttl --name brick",
        ),
    ),
    Command(
        "ontology list",
        ontologies.list_ontologies,
        FINDING,
        ("hilum ontology list", "hilum ontology list --output json"),
    ),
    Command("ontology diff", ontologies.diff, FINDING, ("hilum ontology diff building.ttl",)),
    Command("ontology unload", ontologies.unload, FINDING, ("hilum ontology unload building",)),
    Command("ontology rebuild", ontologies.rebuild, FINDING, ("hilum ontology rebuild",)),
    Command(
        "ontology document",
        ontologies.document,
        FINDING,
        ("hilum ontology document --out ontology.html",),
    ),
)
DISCOVERY: Final = (
    *ONTOLOGIES,
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
        "query",
        query.query,
        FINDING,
        (
            "hilum query --sparql 'SELECT ?title { ?thing td:title ?title }'",
            "hilum query rooms.rq --output json",
            "hilum query --jsonpath '$[?@.title == \"Lamp\"].id'",
        ),
    ),
    Command(
        "thing list",
        things.list_things,
        FINDING,
        ("hilum thing list", "hilum thing list --sort modified --reverse --output json"),
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
