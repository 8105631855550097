"""The shape of a description against the schema, every error with its JSON pointer."""

from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any, cast

import fastjsonschema

from registry.things.problems import MAX_PROBLEMS, Problem
from registry.things.schema import SCHEMA
from registry.things.shape import problems_of

_Check = Callable[[Any], Any]


@lru_cache(maxsize=1)
def _compiled() -> _Check:
    compiled = fastjsonschema.compile(
        SCHEMA, use_default=False, use_formats=False, detailed_exceptions=False
    )
    return cast("_Check", compiled)


def prepare() -> None:
    """Compile the schema now, which takes a moment, not with the first description."""
    _compiled()


def fits(document: object) -> bool:
    """Return whether a document has the shape of a description."""
    try:
        _compiled()(document)
    except fastjsonschema.JsonSchemaException:
        return False
    return True


def shape_problems(document: object) -> list[Problem]:
    """Return what is wrong with the shape of a description, `MAX_PROBLEMS` at most."""
    return [] if fits(document) else list(islice(problems_of(SCHEMA, document), MAX_PROBLEMS))
