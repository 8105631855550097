"""Every document does what it says, and the harness notices when one does not."""

import re
from pathlib import Path

import pytest

from tests.house.documents import Block, DocumentError, Ports, blocks, matches, steps
from tests.house.sandbox import Sandbox
from tests.support import ROOT, require_program

FOLDERS = ("docs", "examples", "sdk")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for one in FOLDERS for path in (ROOT / one).rglob("*.md"))]
)
SAMPLE = Path(__file__).with_name("sample.md")


def listed_programs() -> list[str]:
    """Return the programs that `make test` installs: a document may use them."""
    makefile = (ROOT / "Makefile").read_text()
    return re.search(r"^TEST_PROGRAMS := (.*)$", makefile, re.MULTILINE)[1].split(",")


def run(markdown: str, directory: Path, name: str = "document.md") -> None:
    todo = steps(name, markdown)
    used = {word for step in todo for word in re.findall(r"[\w-]+", step.command)}
    for program in listed_programs():
        if program in used:
            require_program(program)
    if todo:
        Sandbox(directory, Ports(markdown, always=(8080, 8081, 1883, 5683))).run(name, todo)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_does_what_it_says(path, tmp_path):
    try:
        run(path.read_text(), tmp_path, str(path.relative_to(ROOT)))
    except DocumentError as error:
        pytest.fail(str(error), pytrace=False)


def test_the_sample_runs_in_one_shell_on_free_ports(tmp_path):
    run(SAMPLE.read_text(), tmp_path, SAMPLE.name)
    assert (tmp_path / "checkout" / "answer.txt").read_text() == "forty-two\n"
    assert not (ROOT / "answer.txt").exists()


@pytest.mark.parametrize(
    ("markdown", "message"),
    [
        ("```bash\ntrue\nls /nowhere\n```", r"document.md:2: ended with 2\n(?s:.*)No such file"),
        ("\n```console\n$ echo a\nb\n```", r"document.md:3: shows\nb\nbut printed\na"),
        ("```console\n$ echo a\n```", "but printed\na"),
        ("```console\n$ false\n```", "ended with 1"),
        ("```console\necho a\n```", "begins with a command"),
        ("```bash\nexit 0\n```\n```bash\ntrue\n```", "document.md:2: ended with 0"),
        ("```json\n{,}\n```", "document.md:1: not json"),
        ("```toml\na = \n```", "document.md:1: not toml"),
        ("```yaml\na: [\n```", "document.md:1: not yaml"),
        ("```\nls\n```", "says no language; choose one of bash"),
        ("```python\n1\n```", "says python; choose one of bash"),
        ("```bash\nmake nothing-like-this\n```", "No rule to make target"),
    ],
)
def test_a_document_that_is_wrong_fails_with_its_line(markdown, message, tmp_path):
    with pytest.raises(DocumentError, match=message):
        run(markdown, tmp_path)


def test_a_hanging_document_is_ended_with_all_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.house.sandbox.SECONDS", 1)
    markdown = "```bash\n(sleep 60; touch late) & echo $! >pid\nsleep 60\n```"
    with pytest.raises(DocumentError, match="took longer than 1 s"):
        run(markdown, tmp_path)
    process = Path("/proc", (tmp_path / "checkout" / "pid").read_text().strip(), "stat")
    assert not process.exists() or process.read_text().rpartition(")")[2].split()[0] == "Z"


def test_blocks_are_found_in_lists_and_behind_longer_fences():
    text = "1. a\n\n   ```bash\n   ls\n     -l\n   ```\n\n~~~~text\n```bash\n~~~~\n"
    assert list(blocks(text)) == [
        Block(3, "bash", "ls\n  -l\n"),
        Block(8, "text", "```bash\n"),
    ]


@pytest.mark.parametrize(
    ("expected", "output", "result"),
    [
        ("a", "a\n", True),
        ("a ", "a", True),
        ("a...z", "abcz", True),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("a...", "ba", False),
        ("", "a", False),
    ],
)
def test_output_is_compared_as_in_doctest(expected, output, result):
    assert matches(expected, output) is result


def test_ports_are_replaced_wherever_they_stand_and_back_in_the_output():
    ports = Ports("curl http://127.0.0.1:8080/a; serve 9001 127.0.0.1:9001", always=(8081,))
    command = ports.to_real("serve --port 8080 9001 localhost:8081 80801 1.8080")
    assert "8080 9001" not in command
    assert command.endswith(" 80801 1.8080")
    assert ports.to_shown(command) == "serve --port 8080 9001 localhost:8081 80801 1.8080"
