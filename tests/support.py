"""What tests of every folder share: import it as ``from tests.support import …``."""

import os
import random
import shutil
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Programs such as nginx live in sbin, which is not on every user's path.
_PROGRAM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin"


def require_program(name: str) -> str:
    """Return the path of a system program, or skip the test naming it; with CI=true that fails.

    The Makefile installs what tests ask for here: see TEST_PROGRAMS there.
    """
    path = shutil.which(name, path=_PROGRAM_PATH)
    if path is None:
        reason = f"needs the program {name}, which is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


def require_dtls() -> None:
    """Skip a test where the optional library for DTLS has no wheel; with CI=true that fails."""
    if find_spec("mbedtls") is None:
        reason = "needs python-mbedtls (the extra dtls), which is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def shared_data() -> Path:
    """Return the folder of real descriptions and ontologies, or skip where it is not there."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the folder ../shared/data, which is not there")
    return folder


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody uses, for programs that cannot bind port 0.

    Below the range that the kernel hands out by itself, so that no outgoing connection takes it
    between this call and its use.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Replaceable:
    """Stands for an object whose methods a test replaces: compiled ones cannot be changed."""

    def __init__(self, original: object) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
