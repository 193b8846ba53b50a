"""What is measured: the model's content, the server's version, and which flags it knows."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from rrl.serving.launcher import LOCAL, kind_of
from rrl.serving.local_flags import flag_defaults
from rrl.support.errors import ServerError

_IN_HELP = re.compile(r'^\s+--(\w+)=("[^"]*"|\S*)\s+(?:bool|u?int32|u?int64|float|string)\b', re.M)


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


def known_flags(command: Sequence[str]) -> dict[str, str]:
    """Return the flags of the server that a command starts, with the texts of their defaults.

    They are read from what the server prints with `--help`. The result is empty if that cannot be
    read.
    """
    if kind_of(command) == LOCAL:
        return flag_defaults()
    return read_help(_said((*command, "--help")))


def read_help(text: str) -> dict[str, str]:
    r"""Return the flags of TensorFlow's help text, with the texts of their defaults.

    Examples
    --------
    >>> read_help('Flags:\n\t--grpc_max_threads=8\tint32\tMax threads.\n\t--ssl=""\tstring\tA file')
    {'grpc_max_threads': '8', 'ssl': ''}
    """
    return {name: default.strip('"') for name, default in _IN_HELP.findall(text)}


def check_flag(flag: str, known: dict[str, str]) -> None:
    """Raise ServerError if a server does not know a flag; `known` is from `known_flags`.

    Examples
    --------
    >>> check_flag("--port", {"port": "8500"})
    """
    name = flag.removeprefix("--")
    if known and name not in known:
        close = get_close_matches(name, known, 1)
        hint = f"did you mean --{close[0]}?" if close else "its --help lists those it knows"
        raise ServerError(f"the server does not know the flag {flag}: {hint}")
