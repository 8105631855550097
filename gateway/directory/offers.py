"""What is offered under an object's name, as the index takes it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.directory.views import object_of
from registry.index.rdf import Quad
from registry.index.triples import Offered, Service
from registry.model import NameRecord, Registration, RegistrationId, ThingRecord


class Extension(NamedTuple):
    """What a description says of its object in other vocabularies than ours."""

    text: str
    quads: tuple[Quad, ...]


NOTHING: Final = Extension("", ())


def offered_of(
    record: NameRecord,
    registrations: Mapping[RegistrationId, Registration],
    thing: ThingRecord | None,
    extension: Extension = NOTHING,
) -> Offered:
    """Return an object, who offers it, and its description if one was submitted."""
    services = tuple(
        Service(offer.registration, registrations[offer.registration].deployment)
        for offer in record.offers
    )
    id_, text = (thing.id, thing.text) if thing is not None else ("", "")
    extra = extension.quads if extension.text == text else ()
    return Offered(record.name, object_of(record), services, id_, text, extra)
