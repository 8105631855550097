"""What conditions see of a name beside what operators state: what the registry knows."""

from collections.abc import Mapping

from policy.model import Value
from registry.catalog import Catalog
from registry.names import Name


def facts_of(catalog: Catalog, name: Name) -> Mapping[str, Value]:
    """Return the kind of a name, and microservice and version of who offers it first."""
    record = catalog.names.get(name)
    if record is None:
        return {}
    microservice, version, _ = record.offers[0].registration
    return {"kind": str(record.kind), "microservice": microservice, "version": version}
