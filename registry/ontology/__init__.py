"""The ontology of services (S3 III-D, figure 3): three files of Turtle, and the shapes of ours.

``domain`` aligns the vocabularies that sites use for places and things, ``profile`` says what
a member means and promises, ``structure`` what a microservice is made of.
"""

from importlib.resources import files
from typing import Final

CORE: Final = ("structure", "profile", "domain")
"""The parts, as their files are called; sites cannot load ontologies of these names."""


def load_core() -> dict[str, str]:
    """Return the Turtle text of each part by its name."""
    return {name: _text(f"{name}.ttl") for name in CORE}


def load_shapes() -> str:
    """Return the SHACL shapes as Turtle."""
    return _text("shapes.ttl")


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")
