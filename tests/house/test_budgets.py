"""Files and functions stay small enough to read at once."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house.sources import PACKAGES, python_files
from tests.support import ROOT

FILE_LINES = 400
FUNCTION_LINES = 40
EXAMPLE_LINES = 100


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, line, length) of each function: the body without signature and docstring."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        length = node.end_lineno - body[0].lineno + 1 if body else 0
        yield node.name, node.lineno, length


def longer_than(limit: int, paths: list[Path]) -> list[str]:
    lengths = ((path, len((ROOT / path).read_text().splitlines())) for path in paths)
    return [f"{path} has {length} lines" for path, length in lengths if length > limit]


def test_files_are_short():
    assert not longer_than(FILE_LINES, python_files(*PACKAGES, "sdk"))


def test_functions_are_short():
    errors = [
        f"{path}:{line} {name} has {length} lines"
        for path in python_files(*PACKAGES, "sdk")
        for name, line, length in functions(path)
        if length > FUNCTION_LINES
    ]
    assert not errors
