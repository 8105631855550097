"""The directory describes itself: a ``ThingDirectory`` at ``/.well-known/wot`` (7.3.1 and 6.3)."""

from typing import Any, Final

import msgspec

from gateway.message import Call, Refusal, Status
from gateway.objects.local import LocalProvider, Result
from gateway.objects.things_reading import TD
from gateway.site import Site
from gateway.view import Route
from registry.model import Kind
from registry.names import Name

PATH: Final = ".well-known/wot"
TD_CONTEXT: Final = "https://www.w3.org/2022/wot/td/v1.1"
CONTEXT: Final = "https://www.w3.org/2022/wot/discovery"
MERGE_PATCH: Final = "application/merge-patch+json"
_TEXT: Final = {"type": "string"}
_TD: Final = TD.decode()
_ID: Final = {"id": {"@type": "ThingID", "type": "string", "format": "iri-reference"}}


class OwnDescription:
    """The handler of ``/.well-known/wot``; ``base`` is where the directory is reached."""

    def __init__(self, site: Site) -> None:
        self.base = ""
        self._site = site

    def serve(self, local: LocalProvider) -> None:
        """Give the site the name; whoever may ``describe`` it gets the description."""
        name = Name(f"{self._site.authority}/{PATH}")
        local.serve(name, self.describe)
        self._site.own([Route(name, Kind.OBJECT, "", self._site.view.meter_of("$site"))])

    async def describe(self, _: Call, __: Route, ___: bytes) -> Result:
        """Return the description."""
        if not self.base:
            raise Refusal(Status.UNAVAILABLE, "the directory does not listen yet", retry_after=1)
        return Result(msgspec.json.encode(description(self._site.authority, self.base)), TD)


def description(authority: str, base: str) -> dict[str, Any]:
    """Return the Thing Description of the directory of a site (7.3.2, appendix C)."""
    return {
        "@context": [TD_CONTEXT, CONTEXT],
        "@type": "ThingDirectory",
        "id": f"urn:hilum:{authority}/$site/registry",
        "title": f"Things of {authority}",
        "description": "What is registered at this site, as far as you may know of it.",
        "version": {"instance": "1.0.0"},
        "base": f"{base}/",
        "securityDefinitions": {"bearer_sc": {"scheme": "bearer", "format": "opaque"}},
        "security": "bearer_sc",
        "properties": {"things": _things()},
        "actions": {**_crud(), **_searches()},
        "events": {
            "thingCreated": _event("thing_created", "The id; with diff=true the whole TD."),
            "thingUpdated": _event("thing_updated", "The id; with diff=true what has changed."),
            "thingDeleted": _event("thing_deleted", "The id."),
        },
    }


def _things() -> dict[str, Any]:
    query = "things{?offset,limit,format,sort_by,sort_order}"
    return {
        "title": "Descriptions by pages",
        "readOnly": True,
        "type": "array",
        "items": {"type": "object"},
        "uriVariables": {
            "offset": {"type": "integer", "minimum": 0, "default": 0},
            "limit": {"type": "integer", "minimum": 1},
            "format": {"type": "string", "enum": ["array", "collection"], "default": "array"},
            "sort_by": {"type": "string", "default": "id"},
            "sort_order": {"type": "string", "enum": ["asc", "desc"], "default": "asc"},
        },
        "forms": [_form(query, "GET", "readproperty", "application/ld+json")],
    }


def _crud() -> dict[str, Any]:
    whole, thing = {"type": "object"}, "things/{id}"
    return {
        "createAnonymousThing": {
            "title": "Register a description that has no id; it gets one",
            "input": whole,
            "forms": [_form("things", "POST", "invokeaction", _TD)],
        },
        "createThing": _action("Register a description", "PUT", thing, _TD, whole),
        "retrieveThing": {
            **_action("Get a description", "GET", thing, _TD),
            "output": whole,
            "safe": True,
            "idempotent": True,
        },
        "updateThing": _action("Replace a description", "PUT", thing, _TD, whole),
        "partiallyUpdateThing": _action("Change parts", "PATCH", thing, MERGE_PATCH, whole),
        "deleteThing": _action("Remove a description", "DELETE", thing, _TD),
    }


def _action(
    title: str, verb: str, href: str, content_type: str, given: dict[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "title": title,
        "uriVariables": _ID,
        **({"input": given} if given is not None else {}),
        "forms": [_form(href, verb, "invokeaction", content_type)],
    }


def _searches() -> dict[str, Any]:
    query = {"query": _TEXT}
    found = {
        "searchJSONPath": ("jsonpath", "Search by JSONPath (RFC 9535)", "application/json"),
        "searchXPath": ("xpath", "Search by XPath", "application/json"),
        "searchSPARQL": ("sparql", "Search by SPARQL 1.1", "application/sparql-results+json"),
    }
    return {
        action: {
            "title": title,
            "uriVariables": query,
            "safe": True,
            "idempotent": True,
            "forms": [_form(f"search/{name}{{?query}}", "GET", "invokeaction", content_type)],
        }
        for action, (name, title, content_type) in found.items()
    }


def _event(name: str, says: str) -> dict[str, Any]:
    form = _form(f"events/{name}{{?diff}}", "GET", "subscribeevent", "text/event-stream")
    return {
        "description": says,
        "uriVariables": {"diff": {"type": "boolean", "default": False}},
        "data": {"type": "object"},
        "forms": [{**form, "subprotocol": "sse"}],
    }


def _form(href: str, verb: str, op: str, content_type: str) -> dict[str, Any]:
    return {"href": href, "htv:methodName": verb, "op": op, "contentType": content_type}
