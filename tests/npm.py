"""Packages of npm for tests: a folder holds ``package.json`` and a lock without addresses."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tests.support import ROOT, require_program


def installed(source: Path) -> Path:
    """Return a folder with the packages and programs of ``source``; fetched once for each lock."""
    npm = require_program("npm")
    lock = (source / "package-lock.json").read_bytes()
    folder = ROOT / "build" / source.name / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # workers of one test run come at the same time
        for file in (*source.glob("package*.json"), *source.glob("*.mjs")):
            shutil.copy(file, folder)
        if not (folder / ".done").exists():
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
            (folder / ".done").touch()
    return folder
