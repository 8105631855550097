"""Every command says what it does, with examples that would be understood."""

import re
import shlex

import pytest

from adapters.cli import app
from tests.running import hilum


def commands() -> list[tuple[str, ...]]:
    """Return the words of every command."""
    return [tuple(command.words.split()) for command in app.COMMANDS]


def examples(text: str) -> list[str]:
    return re.findall(r"^ +\$ hilum (.*?) *$", text, re.MULTILINE)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_help_of_a_command_has_examples(words):
    done = hilum(*words, "--help", COLUMNS="200")
    assert done.returncode == 0
    shown = examples(done.stdout)
    assert shown
    for example in shown:
        first, *pipeline = (part for part in example.split(" | ") if not part.startswith("sed"))
        for command in (first, *(part.removeprefix("hilum ") for part in pipeline)):
            arguments = shlex.split(command.partition(" < ")[0])
            # What stands in an example is parsed: options that do not exist would end with 2.
            assert tuple(arguments[: len(words)]) == words or words == ("get",) or pipeline
            checked = hilum(*arguments, "--help")
            assert checked.returncode == 0, f"hilum {command}: {checked.stderr}"


def test_every_option_in_the_examples_exists():
    for words in commands():
        text = hilum(*words, "--help", COLUMNS="200").stdout
        options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text.partition("Examples")[0]))
        for example in examples(text):
            own = example.split(" | ")[0]
            if own.split()[: len(words)] == list(words):
                used = re.findall(r"(?<=\s)--?[a-z][a-z-]*", own)
                assert set(used) <= options, example


@pytest.mark.parametrize("words", [(), *((group,) for group in app.GROUPS)])
def test_help_without_a_command_lists_what_there_is(words):
    for arguments in ((*words, "--help"), words):
        done = hilum(*arguments)
        assert "Usage: hilum" in done.stdout + done.stderr


def test_every_command_is_here():
    expected = {"serve", "check", "version", "apply", "get", "delete", "call", "publish"}
    expected |= {"watch", "replay", "describe", "introspect", "accounts", "top", "trace"}
    expected |= {"discover", "query"}
    assert {words[0] for words in commands() if len(words) == 1} == expected
    assert {words for words in commands() if len(words) == 2} == {
        ("endpoint-secret", "put"),
        ("endpoint-secret", "list"),
        ("endpoint-secret", "delete"),
        *(("ontology", name) for name in ("load", "list", "diff", "unload", "rebuild", "document")),
        *(("thing", name) for name in ("list", "get", "put", "patch", "delete")),
        ("registry", "list"),
        ("audit", "tail"),
        ("audit", "verify"),
        ("ca", "init"),
        ("ca", "issue"),
        ("ca", "list"),
        ("ca", "revoke"),
        ("device", "add"),
        ("device", "list"),
        ("device", "revoke"),
        ("device", "rotate"),
        *(("policy", name) for name in ("explain", "test", "shadow", "export", "import")),
        *(("token", name) for name in ("issue", "list", "revoke")),
        ("password", "set"),
        ("secret", "issue"),
        *(("deadletter", name) for name in ("list", "redrive", "delete")),
    }
