"""Refuse to run with another distribution's package in place of one of ours (decision 0002).

Imports nothing of ours, so that it can run before anything else does.
"""

import sys
from importlib.abc import InspectLoader, Loader
from importlib.util import find_spec
from typing import TypeGuard

PACKAGES = ("registry", "policy", "gateway", "adapters")
OWNER_LINE = 'OWNER = "hilum"'


class ForeignPackageError(ImportError):
    """A package found under one of our names is not ours, or is missing."""


def require_own_packages() -> None:
    """Raise ForeignPackageError unless all four packages are ours; nothing foreign is executed."""
    for name in PACKAGES:
        spec = find_spec(name)
        # A bare folder of that name, which Python takes for a package too, has no source.
        source = spec.loader.get_source(name) if spec and _has_source(spec.loader) else None
        if source is None or OWNER_LINE not in source.splitlines():
            raise ForeignPackageError(_explain(name, spec.origin if spec else None), name=name)


def _has_source(loader: Loader | None) -> TypeGuard[InspectLoader]:
    return hasattr(loader, "get_source")


def _explain(name: str, origin: str | None) -> str:
    found = f"is not Hilum's but {origin}" if origin else "of Hilum was not found"
    return (
        f"the package {name!r} {found}. Another distribution uses the same import name, or the "
        f"installation is damaged: install Hilum in an environment or container of its own "
        f"({sys.executable} is the interpreter)."
    )
