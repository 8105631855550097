"""The routes of the directory: on the control listener, and on a listener of its own."""

from starlette.routing import Route

from adapters.control.calling import Calling
from adapters.control.discovery.routes import discovery_routes
from adapters.control.search.routes import search_routes
from adapters.control.things.events import Surfaces, events_routes
from adapters.control.things.routes import things_routes

__all__ = ["Surfaces", "directory_routes"]


def directory_routes(calling: Calling, surfaces: Surfaces) -> list[Route]:
    """Return all that can be asked of the directory."""
    return [
        *things_routes(calling),
        *discovery_routes(calling),
        *events_routes(calling, surfaces),
        *search_routes(calling),
    ]
