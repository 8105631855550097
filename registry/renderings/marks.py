"""Pieces of HTML: everything that comes from a service is made harmless here, and only here."""

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from registry.renderings.shown import legible
from registry.terms import compact

_WEB: Final = re.compile(r"https?://[^\s<>\"'`\\]+")
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z][a-z])|_")


def text(value: object) -> str:
    """Return any text as HTML: escaped, and without characters that would hide or reverse."""
    return escape(legible(str(value)))


def prose(words: str, kind: str = "prose") -> str:
    """Return what somebody wrote as a paragraph in its own direction, nothing for no words."""
    return f'<p class="{kind}" dir="auto">{text(words.strip())}</p>' if words.strip() else ""


def chips(items: Iterable[tuple[str, str]]) -> str:
    """Return short facts: a class of the style and HTML each."""
    made = "".join(
        f'<li class="{kind}">{inner}</li>' if kind else f"<li>{inner}</li>" for kind, inner in items
    )
    return f'<ul class="chips">{made}</ul>' if made else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Return a table; the cells of ``rows`` are HTML, ``kind`` is a class of the style."""
    top = "".join(f'<th scope="col">{text(head)}</th>' for head in heads)
    lines = ("".join(map(_cell, range(len(row)), heads, row)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    opening = f'<table class="{kind}">' if kind else "<table>"
    head = f"<thead><tr>{top}</tr></thead>"
    return f'<div class="wide">{opening}{head}<tbody>{body}</tbody></table></div>'


def _cell(number: int, head: str, content: str) -> str:
    """Return a cell; where there is no room for columns it says what it is itself."""
    label = f' data-head="{text(head)}"' if number and content else ""
    return f"<td{label}>{content}</td>"


def term(iri: str) -> str:
    """Return a term of a vocabulary: a link with a label where it is an address of the web.

    Any other scheme (``javascript:`` among them) is text.
    """
    short = compact(iri)
    prefix, colon, local = short.partition(":")
    if short == iri:
        bare = re.split(r"[#/:]", iri.rstrip("#/"))[-1]
        prefix, local, colon = "", bare or iri, ""
    label = f"<span>{text(_WORDS.sub(' ', local))}</span>"
    if colon:
        label += f" <small>{text(prefix)}</small>"
    if not _WEB.fullmatch(iri) or legible(iri) != iri:
        return f'<span class="type" title="{text(iri)}">{label}</span>'
    address = escape(iri)
    return f'<a class="type" href="{address}" title="{address}" rel="noreferrer">{label}</a>'


def terms(iris: Iterable[str]) -> str:
    """Return several terms."""
    return ", ".join(map(term, iris))


def code(value: str) -> str:
    """Return text in the type of programs."""
    return f"<code>{text(value)}</code>"


def definitions(pairs: Iterable[tuple[str, str]], kind: str) -> str:
    """Return a list of words and their HTML, without those that have none."""
    made = "".join(f"<dt>{text(word)}</dt><dd>{inner}</dd>" for word, inner in pairs if inner)
    return f'<dl class="{kind}">{made}</dl>' if made else ""
