"""What is looked at in the text of a SPARQL query before it runs (SPARQL 1.1 Query 19.8).

Only what the engine has no switch for: updates, SERVICE, and the graphs that FROM names. What a
caller may see does not hang on it: others' triples are not in the store that is asked.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from registry.problems import place
from registry.search.problems import InvalidQuery
from registry.terms import PREFIXES

LONGEST: Final = 256 * 1024
"""Characters of a query."""
DEEPEST: Final = 100
"""Brackets within each other: the parser of the engine is recursive."""
FORMS: Final = frozenset({"SELECT", "ASK", "CONSTRUCT", "DESCRIBE"})
UPDATES: Final = frozenset(
    {"INSERT", "DELETE", "LOAD", "CLEAR", "CREATE", "DROP", "COPY", "MOVE", "ADD", "WITH"}
)

# Names come before words, so that ``ex:from`` and ``?from`` are none; a lone ``<`` is a sign.
_TOKEN = re.compile(
    r"""(?P<text>\"\"\"(?:[^"\\]|\\.|"(?!""))*\"\"\"|'''(?:[^'\\]|\\.|'(?!''))*'''"""
    r"""|"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*')"""
    r"""|(?P<iri><[^<>"{}|^`\x00-\x20]*>)"""
    r"""|(?P<comment>\#[^\n\r]*)"""
    r"""|(?P<name>[?$@][\w\-]*|[\w.\-]*:(?:[\w.\-:%]|\\.)*)"""
    r"""|(?P<word>[^\W\d]\w*)"""
    r"""|(?P<sign>\S)""",
    re.DOTALL,
)


class Asked(NamedTuple):
    """A query's form, and the dataset that its own text describes: None where it is silent."""

    form: str
    default_graphs: tuple[str, ...] | None
    named_graphs: tuple[str, ...] | None


class _Token(NamedTuple):
    kind: str
    text: str
    offset: int

    @property
    def keyword(self) -> str:
        return self.text.upper() if self.kind == "word" else ""


def read_query(text: str, services: Collection[str] = ()) -> Asked:
    """Look at a query; ``services`` are the IRIs that SERVICE may name.

    Raises InvalidQuery for what is no query, is an update, or asks another endpoint.
    """
    if len(text) > LONGEST:
        raise InvalidQuery(f"a query may have at most {LONGEST} characters")
    tokens = list(_tokens(text))
    _check_depth(text, tokens)
    _check_services(text, tokens, services)
    form = _form(text, tokens)
    default, named = _dataset(text, tokens)
    if default is None and named is None:
        return Asked(form, None, None)
    return Asked(form, tuple(default or ()), tuple(named or ()))


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind != "comment":
            yield _Token(kind, match.group(), match.start())


def _check_depth(text: str, tokens: list[_Token]) -> None:
    depth = 0
    for token in tokens:
        if token.text in ("{", "(", "["):
            depth += 1
            if depth > DEEPEST:
                raise _wrong(text, token, f"more than {DEEPEST} brackets within each other")
        elif token.text in ("}", ")", "]"):
            depth -= 1


def _check_services(text: str, tokens: list[_Token], services: Collection[str]) -> None:
    for number, token in enumerate(tokens):
        if token.keyword != "SERVICE":
            continue
        rest = tokens[number + 1 : number + 3]
        if rest and rest[0].keyword == "SILENT":
            rest = rest[1:]
        if not rest or rest[0].kind != "iri" or rest[0].text[1:-1] not in services:
            asked = rest[0].text[:200] if rest else "nothing"
            raise _wrong(
                text,
                token,
                f"SERVICE {asked} is not allowed here: the site's settings list which endpoints "
                "a query may ask (search.services), as whole IRIs",
            )


def _form(text: str, tokens: list[_Token]) -> str:
    """Return the first word after the prologue."""
    position = 0
    while position < len(tokens):
        word = tokens[position].keyword
        if word == "BASE":
            position += 2
        elif word == "PREFIX":
            position += 3
        elif word in FORMS:
            return word
        elif word in UPDATES:
            raise _wrong(text, tokens[position], f"{word} changes data: only queries are answered")
        else:
            break
    if position >= len(tokens):
        raise InvalidQuery("there is no query: it begins with SELECT, ASK, CONSTRUCT or DESCRIBE")
    token = tokens[position]
    found = token.text[:50]
    raise _wrong(text, token, f"a query begins with {', '.join(sorted(FORMS))}, not {found!r}")


def _dataset(text: str, tokens: list[_Token]) -> tuple[list[str] | None, list[str] | None]:
    """Return the IRIs of FROM and FROM NAMED; prefixed names are resolved."""
    prefixes: dict[str, str] = {}
    base = ""
    default: list[str] | None = None
    named: list[str] | None = None
    for number, token in enumerate(tokens):
        if token.keyword == "BASE":
            base = _iri(tokens, number + 1)
        elif token.keyword == "PREFIX" and number + 2 < len(tokens):
            prefixes[tokens[number + 1].text] = _iri(tokens, number + 2)
        elif token.keyword == "FROM":
            is_named = number + 1 < len(tokens) and tokens[number + 1].keyword == "NAMED"
            found = _graph(text, tokens, number + 1 + is_named, prefixes, base)
            if is_named:
                named = [*(named or ()), found]
            else:
                default = [*(default or ()), found]
    return default, named


def _iri(tokens: list[_Token], number: int) -> str:
    if number < len(tokens) and tokens[number].kind == "iri":
        return tokens[number].text[1:-1]
    return ""


def _graph(
    text: str, tokens: list[_Token], number: int, prefixes: dict[str, str], base: str
) -> str:
    token = tokens[number] if number < len(tokens) else tokens[-1]
    if token.kind == "iri":
        iri = token.text[1:-1]
        if base and ":" not in iri:
            raise _wrong(text, token, "FROM takes a whole IRI here, not one relative to BASE")
        return iri
    if token.kind == "name" and ":" in token.text:
        prefix, _, local = token.text.partition(":")
        begin = prefixes.get(f"{prefix}:") or PREFIXES.get(prefix)
        if begin:
            return begin + re.sub(r"\\(.)", r"\1", local)
        raise _wrong(text, token, f"the prefix {prefix}: is not declared")
    raise _wrong(text, token, "FROM wants the IRI of a graph")


def _wrong(text: str, token: _Token, message: str) -> InvalidQuery:
    return InvalidQuery(message, *place(text, token.offset))
