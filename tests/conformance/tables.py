"""The tables of ``docs/conformance*.md``: which clause which tests cover.

``python -m tests.conformance.tables`` writes the tests of each clause into its row; what a clause
says, and the reason where one is not met, is written by people.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

from tests.support import ROOT

FOLDER = ROOT / "tests" / "conformance"
ROW = re.compile(r"^\| (?P<clause>[A-Z]+[0-9]*-[\w.-]+) \| (?P<says>[^|]+) \| (?P<tests>[^|]*) \|$")


def documents() -> list[Path]:
    """Return the documents with tables."""
    return sorted((ROOT / "docs").glob("conformance*.md"))


def marked() -> dict[str, dict[str, list[str]]]:
    """Return the tests by clause and file, as the marks say."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(FOLDER.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name in _clauses(node):
                    found[name][path.stem].append(node.name)
    return found


def _clauses(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the clauses of a test's marks: all string literals in ``@clause(…)``."""
    return [
        inner.value
        for mark in node.decorator_list
        if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == "clause"
        for inner in ast.walk(mark)
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
    ]


def listed(tests: dict[str, list[str]]) -> str:
    """Return tests as a row shows them: ``file: test, test; file: test``."""
    return "; ".join(f"{file}: {', '.join(names)}" for file, names in tests.items())


def rows(text: str) -> list[re.Match[str]]:
    """Return the rows of a document's tables."""
    return [row for row in map(ROW.match, text.splitlines()) if row is not None]


def write() -> None:
    """Write the tests of each clause into its row."""
    found = marked()
    for path in documents():
        lines = []
        for line in path.read_text().splitlines():
            row = ROW.match(line)
            if row is not None and row["clause"] in found:
                tests = listed(found[row["clause"]])
                lines.append(f"| {row['clause']} | {row['says']} | {tests} |")
            else:
                lines.append(line)
        path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write()
