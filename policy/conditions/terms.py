"""Terms of ontologies in conditions: a prefix stands for its IRI, ``brick:VAV``. Pure."""

from collections.abc import Container
from dataclasses import replace

from policy.conditions.nodes import Compare, Join, Literal, Node, Not, OneOf, Read
from policy.conditions.tokens import InvalidCondition
from registry.terms import expand

_WHOLE = ("==", "!=", "in", "contains")
"""What compares with a whole term."""


def expanded(node: Node, terms: Container[str], text: str) -> Node:
    """Return a tree in which what is compared with attributes in ``terms`` is an IRI.

    Raises InvalidCondition for a text that is none: it would never be equal to anything.
    """
    match node:
        case Join():
            return replace(node, parts=tuple(expanded(part, terms, text) for part in node.parts))
        case Not():
            return replace(node, inner=expanded(node.inner, terms, text))
        case Compare() if node.operator in _WHOLE:
            if _is_term(node.left, terms) or _is_term(node.right, terms):
                left, right = _iri(node.left, text), _iri(node.right, text)
                return replace(node, left=left, right=right)
        case OneOf() if _is_term(node.left, terms):
            return replace(node, values=tuple(_literal(value, text) for value in node.values))
    return node


def _is_term(node: Node, terms: Container[str]) -> bool:
    return isinstance(node, Read) and node.attribute in terms


def _iri(node: Node, text: str) -> Node:
    return _literal(node, text) if isinstance(node, Literal) else node


def _literal(literal: Literal, text: str) -> Literal:
    try:
        return replace(literal, value=expand(str(literal.value)))
    except ValueError as error:
        hint = "write an IRI, or a known prefix as in brick:VAV"
        raise InvalidCondition(str(error), max(text.find(literal.text), 0), hint) from None
