"""The command line ``hilum``."""

from adapters.cli.run import main

__all__ = ["main"]
