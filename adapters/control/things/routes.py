"""``/things`` and ``/.well-known/wot`` (W3C WoT Discovery 7.3.2.1): thin ways to make Calls."""

from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.control.calling import Calling, body_of, fields_of
from gateway.calls import Answered
from gateway.message import Refusal, Status
from gateway.problems import MEDIA_TYPE, problem
from policy.model import Action

TD: Final = "application/td+json"
LD: Final = "application/ld+json"
JSON: Final = "application/json"
PATCH: Final = "application/merge-patch+json"
SUBMITTED: Final = frozenset({TD, LD, JSON})
LONGEST: Final = 16 * 1024 * 1024
"""Bytes of an answer: a page is far below."""
CONTEXT: Final = "https://www.w3.org/2022/wot/discovery"
Endpoint = Callable[[Request], Awaitable[Response]]


def things_routes(calling: Calling) -> list[Route]:
    """Return the routes."""
    things = _Things(calling)
    return [
        Route("/.well-known/wot", _answered(things.own), methods=["GET"]),
        Route("/things", _answered(things.list), methods=["GET"]),
        Route("/things", _answered(things.create), methods=["POST"]),
        Route("/things/{id:path}", _answered(things.get), methods=["GET"]),
        Route("/things/{id:path}", _answered(things.put), methods=["PUT"]),
        Route("/things/{id:path}", _answered(things.patch), methods=["PATCH"]),
        Route("/things/{id:path}", _answered(things.delete), methods=["DELETE"]),
    ]


class _Things:
    """The endpoints; each makes one Call."""

    def __init__(self, calling: Calling) -> None:
        self._calling = calling

    async def own(self, request: Request) -> Response:
        """Describe the directory itself."""
        _no_more(request, {})
        answered = await self._calling.call(request, ".well-known/wot", action=Action.DESCRIBE)
        return _shown(request, answered)

    async def list(self, request: Request) -> Response:
        """Return a page of descriptions: an array, or a collection with its numbers."""
        known = {"limit": "", "offset": "0", "sort_by": "", "sort_order": "", "format": "array"}
        asked = {**known, **_no_more(request, known)}
        shape = asked.pop("format")
        if shape not in ("array", "collection"):
            raise Refusal(Status.BAD_REQUEST, f"format is array or collection, not {shape!r}")
        wanted = {key: text for key, text in asked.items() if text}
        answered = await self._call(request, "things", query=urlencode(wanted))
        page = msgspec.json.decode(answered.body, type=_Page)
        links = _Links(request, shape)
        headers = {"Link": links.canonical(page.etag)}
        following = ""
        if page.next is not None:
            following = links.next(page.next)
            headers["Link"] = f'<{following}>; rel="next", {headers["Link"]}'
        if shape == "array":
            return Response(_array(page.items), 200, headers, LD)
        collection = {
            "@context": CONTEXT,
            "@type": "ThingCollection",
            "@id": links.here,
            "total": page.total,
            "members": page.items,
            **({"next": following} if following else {}),
        }
        return Response(msgspec.json.encode(collection), 200, headers, LD)

    async def create(self, request: Request) -> Response:
        """Take a description that has no id; it gets one."""
        _no_more(request, {})
        payload = await _submitted(request)
        answered = await self._call(request, "create-thing", payload)
        made = msgspec.json.decode(answered.body, type=_Written)
        headers = {"Location": f"/things/{quote(made.id, safe=_UNQUOTED)}", "ETag": made.etag}
        return Response(b"", 201, headers)

    async def get(self, request: Request) -> Response:
        """Return one description."""
        asked = _no_more(request, {"view": ""})
        query = urlencode({**asked, "id": _id(request)})
        answered = await self._call(request, "thing", query=query)
        return _shown(request, answered)

    async def put(self, request: Request) -> Response:
        """Create or replace a description."""
        _no_more(request, {})
        payload = await _submitted(request)
        answered = await self._call(request, "put-thing", payload, query=_options(request))
        made = msgspec.json.decode(answered.body, type=_Written)
        return Response(b"", 201 if made.created else 204, {"ETag": made.etag})

    async def patch(self, request: Request) -> Response:
        """Change parts of a description (RFC 7396)."""
        _no_more(request, {})
        kind = _media_type(request)
        if kind != PATCH:
            detail = f"a patch is {PATCH}, not {kind or 'of no type'}"
            raise Refusal(Status.UNSUPPORTED_TYPE, detail)
        payload = await body_of(request)
        answered = await self._call(
            request, "patch-thing", payload, content_type=JSON, query=_options(request)
        )
        made = msgspec.json.decode(answered.body, type=_Written)
        return Response(b"", 204, {"ETag": made.etag})

    async def delete(self, request: Request) -> Response:
        """Remove a description, and what it registered."""
        _no_more(request, {})
        await self._call(request, "delete-thing", query=_options(request))
        return Response(b"", 204)

    async def _call(
        self,
        request: Request,
        method: str,
        payload: bytes = b"",
        *,
        content_type: str = TD,
        query: str = "",
    ) -> Answered:
        return await self._calling.call(
            request,
            f"$site/registry/{method}",
            payload,
            content_type=content_type,
            query=query,
            limit=LONGEST,
        )


class _Page(msgspec.Struct):
    """What ``$site/registry/things`` answers; the items stay as they are."""

    items: list[msgspec.Raw]
    total: int
    etag: str
    next: int | None = None


class _Written(msgspec.Struct):
    """What the writing methods answer."""

    id: str
    etag: str
    created: bool


_UNQUOTED = ":,;=~@-._"


class _Links:
    """The links of a page (RFC 8288), relative to the directory."""

    def __init__(self, request: Request, shape: str) -> None:
        self._asked = dict(request.query_params)
        query = f"?{urlencode(self._asked)}" if self._asked else ""
        self.here = f"/things{query}"
        self._shape = shape

    def canonical(self, etag: str) -> str:
        """Return the link to the collection as a whole, with its state."""
        bare = etag.strip('"')
        return f'</things>; rel="canonical"; etag="{bare}"'

    def next(self, offset: int) -> str:
        """Return the link to the next page: whatever was asked is asked again."""
        return f"/things?{urlencode({**self._asked, 'offset': offset})}"


def _array(items: list[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(bytes(item) for item in items) + b"]"


def _no_more(request: Request, known: dict[str, str]) -> dict[str, str]:
    """Return the parameters in the query; raises Refusal for unknown ones and repetitions."""
    asked = request.query_params
    for key, _ in asked.multi_items():
        if key not in known:
            raise Refusal(Status.BAD_REQUEST, f"there is no parameter {key!r} here")
    if len(asked.multi_items()) != len(asked):
        raise Refusal(Status.BAD_REQUEST, "a parameter is there twice")
    return dict(asked)


def _id(request: Request) -> str:
    """Return the id in the path, decoded once."""
    return str(request.path_params["id"])


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _submitted(request: Request) -> bytes:
    kind = _media_type(request)
    if kind and kind not in SUBMITTED:
        detail = f"a Thing Description is {TD}, {LD} or {JSON}, not {kind}"
        raise Refusal(Status.UNSUPPORTED_TYPE, detail)
    return await body_of(request)


def _options(request: Request) -> str:
    """Return which description is meant, and what must hold of it (RFC 9110 section 13.1)."""
    conditions = {
        "ifMatch": request.headers.get("if-match", ""),
        "ifNoneMatch": request.headers.get("if-none-match", ""),
    }
    asked = {key: text for key, text in conditions.items() if text}
    return urlencode({"id": _id(request), **asked})


def _shown(request: Request, answered: Answered) -> Response:
    """Return a description in the type that was asked for; 304 if the client has it already."""
    headers = fields_of(answered.head)
    etag = headers.get("ETag", "")
    known = request.headers.get("if-none-match", "")
    if etag and (known.strip() == "*" or etag in _tags(known)):
        return Response(b"", 304, {"ETag": etag})
    headers["Vary"] = "Accept"
    return Response(answered.body, 200, headers, _wanted(request))


def _tags(text: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in text.split(",")]


def _wanted(request: Request) -> str:
    """Return the media type of a description: what it is, unless only another one is accepted."""
    accepted = [
        part.partition(";")[0].strip().lower()
        for part in request.headers.get("accept", "*/*").split(",")
    ]
    for kind in (TD, JSON, LD):
        if kind in accepted or "*/*" in accepted or "application/*" in accepted:
            return kind
    return TD


def _answered(endpoint: Endpoint) -> Endpoint:
    """Return an endpoint whose refusals are what WoT Discovery says."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as refusal:
            code = refusal.extra.get("code")
            if not isinstance(code, int):
                raise
            extra = {key: value for key, value in refusal.extra.items() if key != "code"}
            title = {412: "Precondition failed", 501: "Not implemented"}.get(code, "")
            slug = title.lower().replace(" ", "-")
            document = problem(code, title, slug, refusal.detail, extra)
            return Response(document, code, media_type=MEDIA_TYPE)

    return answered
