"""Conditions as expressions of casbin.

Casbin raises when an attribute is missing, so each expression asks first: ``_defined`` is true
just when the condition has an answer, and only then ``_answer`` is looked at.
"""

import re
from typing import Final

from policy.conditions.condition import parse
from policy.conditions.kinds import BOOLEAN, DATE, NUMBER, SET, TIME, Schema, Type
from policy.conditions.nodes import (
    Arithmetic,
    Between,
    Compare,
    Has,
    Join,
    Literal,
    Node,
    Not,
    OneOf,
    Read,
    parts_of,
)

ALWAYS: Final = "(1 == 1)"
NEVER: Final = "(1 == 0)"

_PLAIN = re.compile(r"[A-Za-z0-9_:/@ -]*")
_REACHED = re.compile(r"(?!func_|format|mro|exec|tb_|gi_|ag_|cr_)[A-Za-z][A-Za-z0-9_]*")
_TYPES: Final = {NUMBER: "number", BOOLEAN: "boolean", SET: "set", TIME: "moment", DATE: "moment"}


def expression(condition: str, schema: Schema, effect: str) -> str:
    """Return when a rule with this condition applies. Raises InvalidCondition.

    Without an answer an allowing rule does not apply, a denying one does.
    """
    if not condition:
        return ALWAYS
    tree = parse(condition, schema).tree
    if effect == "allow":
        return _both(_defined(tree), _answer(tree))
    return _either(_not(_defined(tree)), _answer(tree))


def _answer(node: Node) -> str:
    """Return what a node is when it has an answer."""
    match node:
        case Literal():
            return _constant(node)
        case Read(_, attribute):
            return _value(attribute)
        case Has(attribute):
            return _typed(attribute, "any")
        case Arithmetic():
            return f"({_answer(node.left)} {node.operator} {_answer(node.right)})"
        case Compare():
            return _compare(node)
        case OneOf(left, values):
            return _any([f"{_answer(left)} == {_constant(value)}" for value in values])
        case Between():
            return _between(node)
        case Not(inner):
            return _not(_answer(inner))
        case Join(operator, parts):
            return (_all if operator == "and" else _any)([_answer(part) for part in parts])


def _defined(node: Node) -> str:
    """Return whether a node has an answer."""
    match node:
        case Read(type_, attribute):
            if type_.values:
                of, key = _split(attribute)
                return f'oneOf({of}, "{key}", {_domain(type_)})'
            return _typed(attribute, _TYPES.get(type_, "string"))
        case Has():
            return ALWAYS
        case Arithmetic() if node.operator in "/%":
            both = _both(_defined(node.left), _defined(node.right))
            return _both(both, f"{_answer(node.right)} != 0")
        case Join(operator, parts):
            # What follows is looked at only if what stands before has not decided.
            found = _defined(parts[-1])
            for part in reversed(parts[:-1]):
                decides = _not(_answer(part)) if operator == "and" else _answer(part)
                found = _both(_defined(part), _either(decides, found))
            return found
        case _:
            return _all([_defined(part) for part in parts_of(node)])


def _compare(node: Compare) -> str:
    left, right = _placed(node.left), _placed(node.right)
    if node.operator in ("within", "startsWith", "contains"):
        return f"{node.operator}({_answer(node.left)}, {_answer(node.right)})"
    if node.operator == "in":
        return f"contains({_answer(node.right)}, {_answer(node.left)})"
    return f"({left} {node.operator} {right})"


def _between(node: Between) -> str:
    of, low, high = _placed(node.left), _placed(node.low), _placed(node.high)
    if node.left.type != TIME:
        return _both(f"{low} <= {of}", f"{of} <= {high}")
    join = _both if float(node.low.value) <= float(node.high.value) else _either
    return join(f"{of} >= {low}", f"{of} < {high}")


def _placed(node: Node) -> str:
    """Return an operand; of an ordered domain its place there."""
    return f"place({_answer(node)}, {_domain(node.type)})" if node.type.values else _answer(node)


def _constant(literal: Literal) -> str:
    value = literal.value
    if isinstance(value, bool):
        return ALWAYS if value else NEVER
    return _quoted(value) if isinstance(value, str) else f"{value!r}"


def _quoted(text: str) -> str:
    """Return a text as casbin reads it, in which it must not find anything of its own."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return f'text("{"".join(c if _PLAIN.fullmatch(c) else _percent(c) for c in text)}")'


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _domain(type_: Type) -> str:
    return ", ".join(map(_quoted, type_.values))


def _split(attribute: str) -> tuple[str, str]:
    whose, _, key = attribute.partition(".")
    return f"r.{whose}", key


def _value(attribute: str) -> str:
    of, key = _split(attribute)
    return f"{of}.{key}" if _REACHED.fullmatch(key) else f'attribute({of}, "{key}")'


def _typed(attribute: str, type_: str) -> str:
    of, key = _split(attribute)
    return f'typed({of}, "{key}", "{type_}")'


def _not(text: str) -> str:
    return {ALWAYS: NEVER, NEVER: ALWAYS}.get(text) or f"(!({text}))"


def _both(one: str, other: str) -> str:
    return _all([one, other])


def _either(one: str, other: str) -> str:
    return _any([one, other])


def _all(texts: list[str]) -> str:
    return _joined(texts, " && ", ALWAYS, NEVER)


def _any(texts: list[str]) -> str:
    return _joined(texts, " || ", NEVER, ALWAYS)


def _joined(texts: list[str], sign: str, nothing: str, enough: str) -> str:
    """Join tests; ``nothing`` adds nothing to them, ``enough`` decides alone."""
    parts = [text for text in dict.fromkeys(texts) if text != nothing]
    if enough in parts:
        return enough
    if len(parts) < 2:
        return parts[0] if parts else nothing
    return f"({sign.join(parts)})"
