"""What is measured: the content of the model, and the version of the server."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rrl.serving.launcher import LOCAL, kind_of


def model_digest(version: Path) -> str:
    """Return a digest of all files of a version folder: their names and their contents.

    Files in linked folders count, too, as a deployment may link to a shared `variables` folder.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "saved_model.pb").write_bytes(b"graph")
    ...     model_digest(Path(folder))
    'sha256 5df3901e39f6'
    """
    digest = hashlib.sha256()
    within = ((Path(folder), names) for folder, _, names in os.walk(version, followlinks=True))
    files = [folder / name for folder, names in within for name in names]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(f"{path.relative_to(version).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:12]}"


@cache
def _said(command: tuple[str, ...]) -> str:
    """Return what a command prints; nothing if it does not start or does not end."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def server_version(command: Sequence[str]) -> str:
    """Return the version of the server that a command of `find_executable` starts."""
    if kind_of(command) == LOCAL:
        from importlib.metadata import version

        return f"local server on TensorFlow {version('tensorflow')}"
    lines = _said((*command, "--version")).splitlines()
    return next((line.strip() for line in lines if line.strip()), "unknown")
