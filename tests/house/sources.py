"""The checkout as the house rules see it: which files there are, and who imports what."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support import ROOT, require_program

PACKAGES = ("registry", "policy", "gateway", "adapters")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Return the files under version control that exist, relative to the checkout."""
    listing = subprocess.run(
        # CI may hold a clone that another user made, which git refuses to look into otherwise.
        [require_program("git"), "-c", f"safe.directory={ROOT}", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    paths = (Path(name) for name in listing.stdout.split("\0") if name)
    return tuple(path for path in paths if (ROOT / path).is_file())


def text_files() -> Iterator[tuple[Path, str]]:
    """Yield the tracked files that are text, with their content."""
    for path in tracked_files():
        data = (ROOT / path).read_bytes()
        if b"\0" not in data:
            yield path, data.decode()


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of ``folders``, relative to the checkout, in order."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, full name) of what a file imports, inside functions too; relative ones not."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield from ((node.lineno, _module(node.module, alias.name)) for alias in node.names)


def _module(parent: str, name: str) -> str:
    """Return what ``from parent import name`` imports: a module of ours, or something in one."""
    full = f"{parent}.{name}"
    path = ROOT / full.replace(".", "/")
    return full if path.is_dir() or path.with_suffix(".py").exists() else parent
