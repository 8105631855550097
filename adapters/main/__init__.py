"""The composition root: every port is made here and handed to who needs it."""

from adapters.main.application import Application, serve

__all__ = ["Application", "serve"]
