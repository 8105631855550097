"""The program ``hilum``: the guard first, then the command line."""

import sys
from importlib import import_module

from gateway.guard import ForeignPackageError, require_own_packages

# A name instead of an import, because the gateway does not import what looks at the wire.
COMMAND_LINE = "adapters.cli:main"


def main() -> None:
    """Run the command line; exit with 1 and an explanation where a foreign package shadows ours."""
    try:
        require_own_packages()
    except ForeignPackageError as error:
        sys.exit(f"hilum: {error}")
    module, _, attribute = COMMAND_LINE.partition(":")
    getattr(import_module(module), attribute)()


if __name__ == "__main__":
    main()
