"""``$site/registry/query``, ``jsonpath`` and ``xpath``: searches over what a caller may describe.

SPARQL sees the graphs of the objects that a caller may describe, and of those no triple that
names a member which he may not; JSONPath and XPath see the views that he would get.
"""

from collections.abc import Callable
from typing import Final

from gateway.directory.indexing import Indexing
from gateway.directory.partly import PartlySeen
from gateway.directory.queries import Answer, Ask, Engine
from gateway.directory.texts import Texts
from gateway.directory.visibility import Seen, Visibility
from gateway.message import Call, Refusal, Status
from gateway.objects.answers import Request, media_type, options_of, read
from gateway.objects.local import Handler, Result
from gateway.settings import Search
from gateway.view import Route
from policy.model import Principal
from registry.index.triples import graph_of, inferred_of
from registry.media_types import chosen
from registry.names import Name
from registry.search.forms import Form
from registry.search.jsonpath import compile_query
from registry.search.page import page_of, paged
from registry.search.problems import InvalidQuery
from registry.search.rdf import GRAPHS
from registry.search.results import SOLUTIONS
from registry.search.sparql import read_query

SPARQL: Final = "application/sparql-query"
MOST: Final = 10_000
AGAIN: Final = 5
USUAL: Final = 100
"""Results of one page of JSONPath and XPath."""


class Sparql(Request, frozen=True):
    """A SPARQL query, the dataset that the protocol names, and what the caller accepts."""

    query: str
    default_graphs: tuple[str, ...] = ()
    named_graphs: tuple[str, ...] = ()
    accept: str = ""


class Options(Request, frozen=True):
    """What stands beside a query that is the payload itself."""

    accept: str = ""


class Paths(Request, frozen=True):
    """A JSONPath or XPath query, and a page of its results."""

    query: str
    offset: int = 0
    limit: int = USUAL


class _Stale(Exception):
    """What a principal may see is to be found out anew."""


class SearchObject:
    """The handlers."""

    def __init__(
        self,
        settings: Search,
        engine: Engine,
        visibility: Visibility,
        texts: Texts,
        indexing: Indexing,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._visibility = visibility
        self._texts = texts
        self._indexing = indexing

    def handlers(self) -> dict[str, Handler]:
        """Return the methods of ``$site/registry`` by name."""
        return {"query": self.query, "jsonpath": self.jsonpath, "xpath": self.xpath}

    async def query(self, call: Call, _: Route, payload: bytes) -> Result:
        """Answer a SPARQL 1.1 query."""
        asked = await _sparql_of(call, payload)
        try:
            text = read_query(asked.query, self._settings.services)
        except InvalidQuery as error:
            raise _invalid(error.message, error.line, error.column) from error
        is_graph = text.form in ("CONSTRUCT", "DESCRIBE")
        media = _negotiated(asked.accept, tuple(GRAPHS) if is_graph else SOLUTIONS)
        if not self._indexing.ready:
            raise Refusal(Status.UNAVAILABLE, "the index is being built: ask again", retry_after=1)
        default, named = text.default_graphs, text.named_graphs
        if asked.default_graphs or asked.named_graphs:
            # The protocol's dataset counts, not the query's own (SPARQL 1.1 Protocol 2.1.4).
            default, named = asked.default_graphs, asked.named_graphs
        principal = call.principal

        def make() -> Ask:
            seen = self._visibility.of(principal)
            only, hidden = _graphs(seen)
            return self._ask(
                "sparql",
                asked.query,
                media,
                rows=self._settings.rows,
                network=bool(self._settings.services),
                default_graphs=default,
                named_graphs=named,
                only=only,
                hidden=hidden,
                hidden_terms=tuple(iri for iris in seen.partial.values() for iri in iris),
            )

        answer = await self._answered(principal, make)
        behind = self._indexing.generation - answer.generation
        fields = (
            b"Hilum-Index-Generation: %d\r\n" % answer.generation,
            b"Hilum-Index-Behind: %d\r\n" % max(0, behind),
        )
        return Result(answer.body, media.encode(), fields=fields)

    async def jsonpath(self, call: Call, _: Route, payload: bytes) -> Result:
        """Answer a JSONPath query (RFC 9535) over the descriptions."""
        asked = await _paths_of(call, payload)
        try:
            form = compile_query(asked.query).form()
        except InvalidQuery as error:
            raise _invalid(error.message, error.line, error.column) from error
        if form is None:
            return await self._apart("jsonpath", call.principal, asked)
        form = paged(form)
        partly = PartlySeen(self._texts, self._visibility, call.principal)
        for __ in range(AGAIN):
            await self._texts.prepare(form)
            await partly.prepare()
            if partly.is_ready():
                return self._at_once(form, call.principal, asked, partly)
        raise _restless()

    async def xpath(self, call: Call, _: Route, payload: bytes) -> Result:
        """Answer an XPath 3.1 query over the descriptions."""
        return await self._apart("xpath", call.principal, await _paths_of(call, payload))

    # Inside

    def _at_once(
        self, form: Form, principal: Principal, asked: Paths, partly: PartlySeen
    ) -> Result:
        """Answer a fast form from columns: only what a page shows is read."""
        texts, columns = self._texts, self._texts.columns
        texts.settle()
        seen = self._visibility.of(principal)
        hidden = {id_ for n in seen.hidden if (id_ := texts.id_of(n)) is not None}
        body, following = page_of(
            columns, form, hidden, partly.now(seen), asked.offset, asked.limit, self._settings.size
        )
        return Result(body, fields=_next_of(following))

    async def _apart(self, language: str, principal: Principal, asked: Paths) -> Result:
        """Answer a query in a process of its own."""
        await self._texts.prepare(None)
        partly = PartlySeen(self._texts, self._visibility, principal)

        def make() -> Ask:
            self._texts.share(self._engine)
            seen = self._visibility.of(principal)
            ids = (self._texts.id_of(name) for name in (*seen.hidden, *seen.partial))
            return self._ask(
                language,
                asked.query,
                "application/json",
                rows=asked.limit,
                offset=asked.offset,
                hidden_ids=frozenset(id_ for id_ in ids if id_ is not None),
                instead=partly.now(seen),
            )

        answer = await self._answered(principal, make, partly)
        following = answer.following
        return Result(answer.body, fields=_next_of(following))

    async def _answered(
        self, principal: Principal, make: Callable[[], Ask], partly: PartlySeen | None = None
    ) -> Answer:
        answer = await self._asked(principal, make, partly)
        match answer.outcome:
            case "ok":
                return answer
            case "invalid":
                raise _invalid(answer.detail, answer.line, answer.column)
            case "time":
                raise Refusal(Status.TIMEOUT, answer.detail)
            case _:
                raise Refusal(Status.INVALID, answer.detail)

    async def _asked(
        self, principal: Principal, make: Callable[[], Ask], partly: PartlySeen | None
    ) -> Answer:
        """Ask, and again where rights changed so much meanwhile that others would wait."""
        seen = self._visibility

        def made() -> Ask:
            if not (partly.is_ready() if partly is not None else seen.is_ready(principal)):
                raise _Stale
            return make()

        for _ in range(AGAIN):
            await (partly.prepare() if partly is not None else seen.prepare(principal))
            try:
                return await self._engine.ask(principal.id, made)
            except _Stale:
                continue
        raise _restless()

    def _ask(self, language: str, query: str, media: str, **more: object) -> Ask:
        settings = self._settings
        return Ask(
            0,
            language,
            query,
            media,
            settings.seconds,
            size=settings.size,
            memory=settings.memory,
            **more,  # type: ignore[arg-type]
        )


async def _sparql_of(call: Call, payload: bytes) -> Sparql:
    """Read a query: the payload itself where its type says so, else JSON or the parameters."""
    if media_type(call) != SPARQL:
        return await read(call, payload, Sparql)
    options = options_of(call, Options)
    try:
        return Sparql(payload.decode(), accept=options.accept)
    except UnicodeDecodeError as error:
        raise _invalid("the query is no UTF-8", 0, 0) from error


async def _paths_of(call: Call, payload: bytes) -> Paths:
    asked = await read(call, payload, Paths)
    if asked.offset < 0 or not 1 <= asked.limit <= MOST:
        detail = f"offset is at least 0, limit between 1 and {MOST}"
        raise Refusal(Status.BAD_REQUEST, detail)
    return asked


def _negotiated(accept: str, offered: tuple[str, ...]) -> str:
    found = chosen(accept, offered)
    if found is None:
        detail = f"this query is answered as {', '.join(offered)}, not as {accept[:200]}"
        raise Refusal(Status.BAD_REQUEST, detail, extra={"code": 406})
    return found


def _invalid(message: str, line: int, column: int) -> Refusal:
    at = f"line {line}, column {column}: " if line else ""
    problem = {"message": message, "line": line, "column": column}
    return Refusal(Status.BAD_REQUEST, at + message, extra={"problems": [problem]})


def _restless() -> Refusal:
    detail = "rights change all the time: ask again"
    return Refusal(Status.UNAVAILABLE, detail, retry_after=1)


def _next_of(offset: int) -> tuple[bytes, ...]:
    return (b"Hilum-Next-Offset: %d\r\n" % offset,) if offset else ()


def _graphs(seen: Seen) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Return which graphs alone may be seen, or else which not: whichever are fewer."""
    if len(seen.hidden) * 2 <= len(seen.total):
        return None, tuple(graph for name in seen.hidden for graph in _graphs_of(name))
    shown = seen.total - seen.hidden
    return tuple(graph for name in shown for graph in _graphs_of(name)), ()


def _graphs_of(name: Name) -> tuple[str, str]:
    return graph_of(name).value, inferred_of(name).value
