"""What a keeper holds, and how one query is answered from it, in a process of its own."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from adapters.sparql.messages import Documents, Feed
from gateway.directory.queries import Answer, Ask
from registry.search import xpath
from registry.search.jsonpath import compile_query
from registry.search.problems import InvalidQuery, TooMuch
from registry.search.rdf import Replica
from registry.vocabulary import ONTOLOGIES


class Held:
    """A replica of the index, and the descriptions."""

    def __init__(self) -> None:
        self.generation = 0
        self.replica = Replica()
        self.texts: dict[str, bytes] = {}

    def feed(self, feed: Feed) -> None:
        """Follow the index."""
        if feed.path:
            self.replica.load(feed.path)
            os.unlink(feed.path)
        self.replica.apply(feed.cleared, feed.quads)
        self.generation = feed.generation

    def documents(self, documents: Documents) -> None:
        """Follow the descriptions."""
        self.texts.update(documents.put)
        for id_ in documents.gone:
            self.texts.pop(id_, None)


def answer(held: Held, ask: Ask) -> Answer:
    """Answer a query from what it may see."""
    following = 0
    try:
        if ask.language == "sparql":
            body = _sparql(held.replica, ask)
        else:
            body, following = _documents(held.texts, ask)
    except InvalidQuery as error:
        return Answer(
            ask.number, "invalid", b"", error.message, error.line, error.column, held.generation
        )
    except TooMuch as error:
        return Answer(ask.number, "too-much", detail=str(error), generation=held.generation)
    return Answer(ask.number, "ok", body, generation=held.generation, following=following)


def _sparql(replica: Replica, ask: Ask) -> bytes:
    if ask.only is not None:
        replica.keep(ask.only, ONTOLOGIES)
        replica.hide((), ask.hidden_terms)
    else:
        replica.hide(ask.hidden, ask.hidden_terms)
    if ask.default_graphs is not None or ask.named_graphs is not None:
        replica.narrow(ask.default_graphs or (), ask.named_graphs or ())
    return replica.ask(ask.query, ask.media_type, ask.rows, ask.size)


def _documents(texts: dict[str, bytes], ask: Ask) -> tuple[bytes, int]:
    seen = {id_: text for id_, text in texts.items() if id_ not in ask.hidden_ids} | ask.instead
    ordered = [seen[id_] for id_ in sorted(seen)]
    found: Iterator[Any]
    if ask.language == "jsonpath":
        query = compile_query(ask.query)
        decode = msgspec.json.Decoder().decode
        found = query.find([decode(text) for text in ordered])
    else:
        found = xpath.find(ask.query, ordered)
    parts: list[bytes] = []
    size = 2
    for value in islice(found, ask.offset, ask.offset + ask.rows + 1):
        if len(parts) == ask.rows:
            return _array(parts), ask.offset + len(parts)
        part = msgspec.json.encode(value)
        size += len(part) + 1
        if size > ask.size:
            if not parts:
                raise TooMuch(f"one result is larger than {ask.size} bytes")
            return _array(parts), ask.offset + len(parts)
        parts.append(part)
    return _array(parts), 0


def _array(parts: list[bytes]) -> bytes:
    return b"[" + b",".join(parts) + b"]"
