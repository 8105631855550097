"""``/search/sparql`` (SPARQL 1.1 Protocol), ``/search/jsonpath`` and ``/search/xpath`` (W3C WoT
Discovery 7.3.2.5): thin ways to make Calls.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.control.calling import Calling, body_of, fields_of
from gateway.calls import Answered
from gateway.message import Refusal, Status
from gateway.problems import MEDIA_TYPE, problem

FORM: Final = "application/x-www-form-urlencoded"
QUERY: Final = "application/sparql-query"
UPDATE: Final = "application/sparql-update"
DATASET: Final = ("default-graph-uri", "named-graph-uri")
LONGEST: Final = 16 * 1024 * 1024
"""Bytes of an answer; the setting search.size is below."""


def search_routes(calling: Calling) -> list[Route]:
    """Return the routes."""
    search = _Search(calling)
    return [
        Route("/search/sparql", search.sparql, methods=["GET", "POST"]),
        Route("/search/jsonpath", search.jsonpath, methods=["GET"]),
        Route("/search/xpath", search.xpath, methods=["GET"]),
    ]


class _Search:
    """The endpoints; each makes one Call."""

    def __init__(self, calling: Calling) -> None:
        self._calling = calling

    async def sparql(self, request: Request) -> Response:
        """Answer a query in any of the three ways in which it may come (section 2.1)."""
        pairs = list(request.query_params.multi_items())
        if request.method == "POST":
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            body = await body_of(request)
            if kind == QUERY:
                pairs.append(("query", _text(body)))
            elif kind == FORM:
                pairs += _form(body)
            else:
                updates = ": updates are not answered here" if kind == UPDATE else ""
                detail = f"a query comes as {QUERY} or {FORM}, not {kind or 'of no type'}{updates}"
                raise Refusal(Status.UNSUPPORTED_TYPE, detail)
        asked = {
            "query": _only(pairs),
            "defaultGraphs": [value for key, value in pairs if key == DATASET[0]],
            "namedGraphs": [value for key, value in pairs if key == DATASET[1]],
            "accept": ", ".join(request.headers.getlist("accept")),
        }
        answered = await self._ask(request, "query", asked)
        if isinstance(answered, Response):
            return answered
        return _shown(answered, {"Vary": "Accept"})

    async def jsonpath(self, request: Request) -> Response:
        """Answer a JSONPath query (RFC 9535)."""
        return await self._paths(request, "jsonpath")

    async def xpath(self, request: Request) -> Response:
        """Answer an XPath 3.1 query."""
        return await self._paths(request, "xpath")

    async def _paths(self, request: Request, language: str) -> Response:
        asked = dict(request.query_params)
        if unknown := asked.keys() - {"query", "offset", "limit"}:
            raise Refusal(Status.BAD_REQUEST, f"there is no parameter {min(unknown)!r} here")
        if "query" not in asked:
            raise Refusal(Status.BAD_REQUEST, "the parameter 'query' is missing")
        numbers: dict[str, Any] = {
            key: _number(key, asked[key]) for key in ("offset", "limit") if key in asked
        }
        answered = await self._ask(request, language, {"query": asked["query"], **numbers})
        if isinstance(answered, Response):
            return answered
        fields = fields_of(answered.head)
        headers = {}
        if following := fields.get("Hilum-Next-Offset"):
            query = urlencode({**asked, "offset": following})
            headers["Link"] = f'</search/{language}?{query}>; rel="next"'
        return _shown(answered, headers)

    async def _ask(
        self, request: Request, method: str, asked: Mapping[str, object]
    ) -> Answered | Response:
        payload = msgspec.json.encode(asked)
        try:
            return await self._calling.call(
                request, f"$site/registry/{method}", payload, limit=LONGEST
            )
        except Refusal as refusal:
            if refusal.extra.get("code") != 406:
                raise
            document = problem(406, "Not acceptable", "not-acceptable", refusal.detail, {})
            return Response(document, 406, media_type=MEDIA_TYPE)


def _only(pairs: list[tuple[str, str]]) -> str:
    """Return the query; raises Refusal unless there is just one, and nothing unknown."""
    for key, _ in pairs:
        if key == "update":
            raise Refusal(Status.BAD_REQUEST, "updates are not answered here: only queries")
        if key != "query" and key not in DATASET:
            raise Refusal(Status.BAD_REQUEST, f"there is no parameter {key[:100]!r} here")
    queries = [value for key, value in pairs if key == "query"]
    if len(queries) != 1:
        detail = f"there must be one parameter 'query', not {len(queries)}"
        raise Refusal(Status.BAD_REQUEST, detail)
    return queries[0]


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(_text(body), keep_blank_values=True, max_num_fields=1000, errors="strict")
    except ValueError as error:
        raise Refusal(Status.BAD_REQUEST, f"the form: {error}") from error


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Refusal(Status.BAD_REQUEST, f"the query is no UTF-8: {error}") from error


def _number(key: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Refusal(Status.BAD_REQUEST, f"{key} is a number, not {text[:50]!r}")
    return int(text)


def _shown(answered: Answered, headers: dict[str, str]) -> Response:
    head = answered.head
    kind = head.content_type.decode("latin-1")
    code = head.code or head.status.wire.http
    return Response(answered.body, code, {**fields_of(head), **headers}, kind)
