"""Find what a notebook reads and writes by watching which files its kernel opens.

So nobody has to keep lists of inputs: the manifest names the data that a figure was made from.
Worker processes are not watched: what they compute rests on files that the kernel has read, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple


class Traffic(NamedTuple):
    """Files in ``data/`` and ``figures/``, as sorted paths relative to the root."""

    read: tuple[str, ...]
    written: tuple[str, ...]


def watch(log: str, root: str) -> None:
    """Note in `log` the files below `root` that this process opens from now on.

    A line of `log` is ``r`` or ``w``, a space and the path relative to the root. It is written
    when the file is opened, so the log stays complete up to the moment when a process is killed.
    """
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    root = os.path.realpath(root) + os.sep

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        elif event == "os.rename":  # a rename replaces a file as a whole
            path, writes = arguments[1], True
        else:
            return
        if isinstance(path, str | bytes | os.PathLike):  # a file descriptor has no path
            path = os.path.realpath(os.fsdecode(path))
            if path.startswith(root):
                os.write(out, f"{'w' if writes else 'r'} {path.removeprefix(root)}\n".encode())

    sys.addaudithook(hook)


def traffic(log: Path, root: Path) -> Traffic:
    """Read the log of :func:`watch`, and keep the data and figures that still exist.

    A figure that was written is not an input.
    """
    found: dict[str, set[str]] = {"r": set(), "w": set()}
    for line in log.read_text(encoding="utf-8").splitlines():
        mode, _, path = line.partition(" ")
        if path.startswith(("data/", "figures/")) and (root / path).is_file():
            found[mode].add(path)
    written = {path for path in found["w"] if path.startswith("figures/")}
    return Traffic(tuple(sorted(found["r"] - written)), tuple(sorted(written)))
