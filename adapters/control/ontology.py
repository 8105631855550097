"""``/ontology``: what descriptions can say, as a page for people and as Turtle for programs.

It is the same at every site and says nothing of this one, so anybody may read it.
"""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.message import Refusal, Status
from registry.media_types import chosen
from registry.ontology import CORE, load_core, load_shapes

TURTLE: Final = "text/turtle"
HTML: Final = "text/html"


def ontology_routes() -> list[Route]:
    """Return the routes."""
    pages = _Pages()
    return [Route("/ontology", pages.page), Route("/ontology/{name}.ttl", pages.part)]


class _Pages:
    """The page is made once, when somebody asks for it first."""

    def __init__(self) -> None:
        self._page = ""
        self._texts = {**load_core(), "shapes": load_shapes()}

    async def page(self, request: Request) -> Response:
        """Return the page, or our ontology as one graph where Turtle is preferred."""
        accept = request.headers.get("accept", "")
        if chosen(accept, (HTML, TURTLE)) == TURTLE:
            response = _turtle("\n".join(self._texts[name] for name in CORE))
        else:
            if not self._page:
                self._page = await asyncio.to_thread(_made)
            response = HTMLResponse(self._page)
        response.headers["Vary"] = "Accept"
        return response

    async def part(self, request: Request) -> Response:
        """Return one of the files."""
        name = request.path_params["name"]
        text = self._texts.get(name)
        if text is None:
            detail = f"there is no {name}.ttl: there are {', '.join(self._texts)}"
            raise Refusal(Status.NOT_FOUND, detail)
        return _turtle(text)


def _turtle(text: str) -> Response:
    return Response(text, media_type=f"{TURTLE}; charset=utf-8")


def _made() -> str:
    from registry.ontology.document import page_of_core  # with a large library, for once

    return page_of_core()
