"""The terms of our ontology, and those of others that descriptions are said in. Pure.

Tests compare them with the Turtle in ``registry/ontology``.
"""

from typing import Final

from registry.terms import HILUM, PREFIXES

_TD: Final = PREFIXES["td"]

ONTOLOGIES: Final = "https://w3id.org/hilum/ontology/"
"""What the IRIs of ontologies, and of the graphs that they are kept in, begin with."""
CLOSURE: Final = ONTOLOGIES + "#closure"
"""The graph of what follows from ontologies."""

THING: Final = _TD + "Thing"
ACTION: Final = _TD + "ActionAffordance"
EVENT: Final = _TD + "EventAffordance"
PROPERTY: Final = _TD + "PropertyAffordance"
HAS_ACTION: Final = _TD + "hasActionAffordance"
HAS_EVENT: Final = _TD + "hasEventAffordance"
HAS_PROPERTY: Final = _TD + "hasPropertyAffordance"
TITLE: Final = _TD + "title"
DESCRIPTION: Final = _TD + "description"
MEMBER_NAME: Final = _TD + "name"

MICROSERVICE: Final = HILUM + "Microservice"
VIRTUAL_OBJECT: Final = HILUM + "VirtualObject"
METHOD: Final = HILUM + "Method"
EVENT_CHANNEL: Final = HILUM + "EventChannel"
PLACE_CLASS: Final = HILUM + "Place"
DEPLOYMENTS: Final = {
    "device": HILUM + "Device",
    "edge": HILUM + "Edge",
    "fog": HILUM + "Fog",
    "cloud": HILUM + "Cloud",
}
"""Deployment places by the words of a manifest."""

NAME: Final = HILUM + "name"
PLACE: Final = HILUM + "place"
WITHIN: Final = HILUM + "within"
PART_OF: Final = HILUM + "partOf"
OFFERS: Final = HILUM + "offers"
OF_MICROSERVICE: Final = HILUM + "ofMicroservice"
VERSION: Final = HILUM + "version"
DEPLOYMENT: Final = HILUM + "deployment"
PROTOCOL: Final = HILUM + "protocol"
CATEGORY: Final = HILUM + "category"
INPUT_CLASS: Final = HILUM + "inputClass"
OUTPUT_CLASS: Final = HILUM + "outputClass"
PRECONDITION: Final = HILUM + "precondition"
EFFECT: Final = HILUM + "effect"
LATENCY: Final = HILUM + "latency"
AVAILABILITY: Final = HILUM + "availability"
RATE: Final = HILUM + "rate"
