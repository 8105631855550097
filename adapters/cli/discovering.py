"""The commands for descriptions, ontologies and discovery, with examples for their help."""

from typing import Final

from adapters.cli import endpoint_secrets
from adapters.cli.commands import OPERATION, Command

DISCOVERY_GROUPS: Final = {
    "endpoint-secret": "How the gateway authenticates at endpoints.",
}
DISCOVERY: Final = (
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
