"""The ontologies of a site: those of the program, of the settings, and what operators loaded."""

import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from gateway.settings import Registry
from gateway.strict_toml import ConfigError
from registry.ontology import CORE, load_core
from registry.ontology.turtle import Limits, Summary, summary
from registry.problems import InvalidDocument

log = logging.getLogger("hilum.ontologies")

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What an ontology may be called; its graph is called so too."""
RESERVED: Final = frozenset({*CORE, "shapes"})


class FileOntology(NamedTuple):
    """An ontology that comes from a file of the settings."""

    path: Path
    text: str
    summary: Summary


class Given:
    """What does not come from the change log; ``read`` it before the site starts."""

    def __init__(self, settings: Registry) -> None:
        self._settings = settings
        self.core: Mapping[str, str] = load_core()
        self.files: Mapping[str, FileOntology] = {}

    @property
    def limits(self) -> Limits:
        """How large an ontology may be."""
        return Limits(self._settings.ontology_bytes, self._settings.ontology_triples)

    def read(self) -> None:
        """Read the files, which takes a while; raises ConfigError for what is wrong with them.

        A site does not start without one: conditions that ask for a class would find nothing.
        """
        problems: list[str] = []
        found: dict[str, FileOntology] = {}
        for path in self._settings.ontologies:
            try:
                with path.open("rb") as file:
                    data = file.read(self.limits.bytes + 1)
                told = summary(data, self.limits)
            except OSError as error:
                problems.append(f"[registry] ontologies: cannot read {path}: {error.strerror}")
            except InvalidDocument as error:
                problems.append(f"[registry] ontologies: {path}: {error}")
            else:
                found[name_of(path)] = FileOntology(path, data.decode(), told)
        if problems:
            raise ConfigError(*problems)
        self.files = found

    def texts(self) -> dict[str, str]:
        """Return the Turtle text of each by its name."""
        return {**self.core, **{name: each.text for name, each in self.files.items()}}


def name_of(path: Path) -> str:
    """Return what an ontology from a file is called: as the file, without its ending."""
    return path.name.rpartition(".")[0] or path.name


def problems_of(settings: Registry) -> Iterator[str]:
    """Yield what is wrong with the settings, without reading the files."""
    taken: dict[str, Path] = {}
    for path in settings.ontologies:
        name = name_of(path)
        if not path.is_file():
            yield f"[registry] ontologies: there is no file {path}"
        elif not NAME.fullmatch(name):
            yield f"[registry] ontologies: {path}: name the file with letters, digits and . _ -"
        elif name in RESERVED:
            yield f"[registry] ontologies: {path}: {name} is an ontology of ours: rename the file"
        elif name in taken:
            yield f"[registry] ontologies: {path}: {taken[name]} is called {name} too: rename one"
        taken[name] = path
