"""What is offered under an object's name, as the index takes it."""

from collections.abc import Mapping

from gateway.directory.views import object_of
from registry.index.rdf import Quad
from registry.index.triples import Offered, Service
from registry.model import NameRecord, Registration, RegistrationId, ThingRecord


def offered_of(
    record: NameRecord,
    registrations: Mapping[RegistrationId, Registration],
    thing: ThingRecord | None,
    extra: tuple[Quad, ...] = (),
) -> Offered:
    """Return an object, who offers it, and its description if one was submitted."""
    services = tuple(
        Service(offer.registration, registrations[offer.registration].deployment)
        for offer in record.offers
    )
    id_, text = (thing.id, thing.text) if thing is not None else ("", "")
    return Offered(record.name, object_of(record), services, id_, text, extra)
