"""What a notebook reads and writes, by watching its kernel open files.

So nobody keeps lists of inputs: make rebuilds a notebook when a file that it read has changed, and
the manifest names what a figure was made from. Worker processes are not watched; what they read,
the kernel has read before, to see whether a result on file still holds (:mod:`rrl.studies.sweeps`).
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

WATCHED = ("data/", "figures/", "rrl/")
_CACHED = re.compile(r"__pycache__/(\w+)\.[\w-]+\.pyc.*$")


class Traffic(NamedTuple):
    """Files below the root, as paths relative to it, sorted."""

    read: tuple[str, ...]
    written: tuple[str, ...]


def watch(log: str, root: str) -> None:
    """Write each file below `root` that this process opens from now on to `log`, once.

    A line is ``r`` or ``w``, a space and the path relative to the root. It is written when the
    file is opened, so a killed process leaves what it had seen.
    """
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    seen: set[tuple[str, str]] = set()
    root = os.path.realpath(root) + os.sep

    def note(mode: str, path: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a descriptor
        path = os.path.realpath(os.fsdecode(path))
        if path.startswith(root) and (mode, path) not in seen:
            seen.add((mode, path))
            os.write(out, f"{mode} {path.removeprefix(root)}\n".encode())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            note("w" if writes else "r", path)
        elif event == "os.rename":  # how files are replaced as a whole
            note("w", arguments[1])

    sys.addaudithook(hook)


def traffic(log: Path, root: Path) -> Traffic:
    """Read what :func:`watch` wrote, as far as it matters and still exists.

    A byte-compiled module counts as its source; a file that was written is no input.
    """
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    found: dict[str, set[str]] = {"r": set(), "w": set()}
    for line in lines:
        mode, _, path = line.partition(" ")
        path = _CACHED.sub(r"\1.py", path)
        if path.startswith(WATCHED) and (root / path).is_file():
            found[mode].add(path)
    written = {path for path in found["w"] if path.startswith("figures/")}
    return Traffic(tuple(sorted(found["r"] - written)), tuple(sorted(written)))
