"""What the checkout may hold: its top level, and what no file says."""

import re
import tomllib

import pytest

from tests.house.sources import python_files, text_files, tracked_files
from tests.support import ROOT

TOP_LEVEL = {
    # the four packages, the SDK, and what goes with them
    *("registry", "policy", "gateway", "adapters", "sdk"),
    *("tests", "examples", "bench", "docs"),
    # the project's own files
    *(".ci", ".editorconfig", ".gitignore", "Makefile", "constraints.txt", "pyproject.toml"),
    *("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md"),
}

# Written so that this file does not say itself what it forbids.
FORBIDDEN = {
    "a path of somebody's machine": r"(?<![\w.$}/])/(?:home|root|Users|wor[k]|far[m])/\w",
    "a package registry's host": (
        r"(?i)(?:pypi|pythonhosted|npmjs|debian|ubuntu|rubygems|docker|ghcr|quay|gcr|crates)"
        r"[.](?:org|com|io)\b"
    ),
    "work left undone": r"\b(?:TOD[O]|FIXM[E]|XX[X])\b",
}

HEADINGS = ["## Context", "## Decision", "## Consequences"]


def test_the_top_level_holds_only_what_belongs_there():
    assert {path.parts[0] for path in tracked_files()} <= TOP_LEVEL


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_names(what):
    pattern = re.compile(FORBIDDEN[what])
    errors = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path, text in text_files()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not errors


def test_decisions_are_numbered_and_have_the_headings_of_the_template():
    folder = ROOT / "docs" / "decisions"
    records = sorted(folder.glob("[0-9]*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert numbers == list(range(1, len(records) + 1))
    for path in [folder / "template.md", *records]:
        lines = path.read_text().splitlines()
        title = r"# \d{4}\. \S" if path in records else "# "
        assert re.match(title, lines[0]), f"{path.name} begins with its number and title"
        assert [line for line in lines if line.startswith("## ")] == HEADINGS, path.name


def test_every_requirement_is_pinned_to_one_version():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {name.lower().replace("_", "-") for name in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    groups = [project["build-system"]["requires"], project["project"]["dependencies"], *extras]
    wanted = {re.match(r"[\w.-]+", name)[0].lower() for group in groups for name in group}
    assert wanted <= pinned


def test_the_makefile_installs_every_program_that_a_test_requires():
    makefile = (ROOT / "Makefile").read_text()
    listed = re.search(r"^TEST_PROGRAMS := (.*)$", makefile, re.MULTILINE)[1]
    asked = {
        name
        for path in python_files("tests")
        for name in re.findall(r'require_program\("([^"]+)"\)', (ROOT / path).read_text())
    }
    assert asked <= set(listed.split(","))


def test_only_the_support_module_skips():
    """A skip must name the missing program and fail with CI=true: require_program() does both."""
    pattern = re.compile(r"pytest\.(?:mark\.)?(?:skip|skipif|importorskip|xfail)\b")
    errors = [
        str(path)
        for path in python_files("tests")
        if path.name != "support.py" and pattern.search((ROOT / path).read_text())
    ]
    assert not errors
