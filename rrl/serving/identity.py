"""What is measured: the model's content, and the server's version."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from rrl.serving.launcher import LOCAL, kind_of


def model_digest(version: Path) -> str:
    """Return a digest of all files of a version folder: their names and their contents.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "saved_model.pb").write_bytes(b"graph")
    ...     model_digest(Path(folder))
    'sha256 5df3901e39f6'
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in version.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(version).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"sha256 {digest.hexdigest()[:12]}"


@cache
def _version_of(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return next((line.strip() for line in done.stdout.splitlines() if line.strip()), "unknown")


def server_version(command: Sequence[str]) -> str:
    """Return the version of the server that a command of `find_executable` starts."""
    if kind_of(command) == LOCAL:
        from importlib.metadata import version

        return f"local server on TensorFlow {version('tensorflow')}"
    return _version_of(tuple(command))
