"""Documents that run: the fenced blocks of a Markdown file, executed as a reader would.

What a block's language means:

bash            run; the document fails where a command fails
console         run line by line after ``$ `` (``> `` continues), and the output compared with what
                stands below; ``...`` stands for anything
toml json yaml  must parse
text mermaid    shown only

All blocks of a document run in order in one shell, in a directory that looks like the checkout but
takes what is written. A bash block of nothing but ``make`` lines is checked with ``make -n``.
Ports written as ``127.0.0.1:PORT`` are replaced by free ones, so that documents can show real ones.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.support import ROOT, free_port


class DocumentError(Exception):
    """A block does not do what the document says; the message begins with file and line."""


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: ``line`` is that of its opening fence."""

    line: int
    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of shell to run, with the output to expect where the document shows one."""

    line: int
    command: str
    output: str | None = None


FENCE = re.compile(r"^( *)(`{3,}|~{3,})\s*([^`\s]*)[^`]*$")
MAKE_LINES = re.compile(r"(?:make( [\w.=-]+)*( *#.*)?\n)+")
ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|localhost):(\d{2,5})\b")
SHOWN = {"text", "mermaid"}
PARSERS: dict[str, Callable[[str], object]] = {
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": lambda text: list(YAML(typ="safe").load_all(text)),
}


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the fenced blocks, without the indentation of a surrounding list."""
    lines = enumerate(markdown.splitlines(), 1)
    for number, line in lines:
        if opening := FENCE.match(line):
            indent, fence, language = opening.groups()
            closing = re.compile(rf"^ *{re.escape(fence)}{fence[0]}*\s*$")
            body = []
            for _, inner in lines:
                if closing.match(inner):
                    break
                body.append(inner.removeprefix(indent) + "\n")
            yield Block(number, language, "".join(body))


def steps(name: str, markdown: str) -> list[Step]:
    """Return what a document runs, having checked what it only shows."""
    found = []
    for block in blocks(markdown):
        if block.language == "bash" and MAKE_LINES.fullmatch(block.text):
            _check_make(name, block)
        elif block.language == "bash":
            found.append(Step(block.line + 1, block.text))
        elif block.language == "console":
            found.extend(_console_steps(name, block))
        elif block.language in PARSERS:
            _check_parses(name, block)
        elif block.language not in SHOWN:
            known = ", ".join(["bash", "console", *PARSERS, *sorted(SHOWN)])
            said = block.language or "no language"
            raise DocumentError(f"{name}:{block.line}: a block says {said}; choose one of {known}")
    return found


def _check_make(name: str, block: Block) -> None:
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        command = ["make", "-n", *line.partition("#")[0].split()[1:]]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DocumentError(f"{name}:{number}: {line}: {done.stderr.strip()}")


def _check_parses(name: str, block: Block) -> None:
    try:
        PARSERS[block.language](block.text)
    except (ValueError, YAMLError) as error:
        raise DocumentError(f"{name}:{block.line}: not {block.language}: {error}") from error


def _console_steps(name: str, block: Block) -> Iterator[Step]:
    lines = block.text.splitlines()
    if not lines or not lines[0].startswith("$ "):
        raise DocumentError(
            f"{name}:{block.line}: a console block begins with a command after '$ '"
        )
    starts = [index for index, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        after = start + 1
        while after < end and lines[after].startswith("> "):
            after += 1
        command = "\n".join(line[2:] for line in lines[start:after])
        yield Step(block.line + 1 + start, command, "\n".join(lines[after:end]))


def matches(expected: str, output: str) -> bool:
    """Tell whether the output is as shown; ``...`` stands for anything, as in doctest."""
    shown, real = (
        "\n".join(map(str.rstrip, text.strip().splitlines())) for text in (expected, output)
    )
    pattern = ".*?".join(re.escape(part) for part in shown.split("..."))
    return re.fullmatch(pattern, real, re.DOTALL) is not None


class Ports:
    """The ports that a document shows, and the free ones that stand for them while it runs."""

    def __init__(self, markdown: str, always: tuple[int, ...] = ()) -> None:
        shown = dict.fromkeys([*map(str, always), *ADDRESS.findall(markdown)])
        self.real = {port: str(free_port()) for port in shown}

    def to_real(self, text: str) -> str:
        """Return a command with the free ports."""
        return _replace(text, self.real)

    def to_shown(self, text: str) -> str:
        """Return an output with the document's ports."""
        return _replace(text, {real: shown for shown, real in self.real.items()})


def _replace(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"(?<![\w.])\d{2,5}\b", lambda found: ports.get(found[0], found[0]), text)
