"""Run `rrl` with a fault at its n-th write or rename: `faulty.py KIND N ARGUMENTS`.

KIND is "kill" (SIGKILL) or "full" (no space is left from there on). A write with a fault reaches
the disk by half. Only writes to files in the folder of `--out` count. `faulty.py count FILE
ARGUMENTS` has no fault, and writes the number of all places to a file.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from pathlib import Path

kind, at, disk = "count", 0, "/nowhere"
calls = 0


def on_disk(file) -> bool:
    return os.path.realpath(os.fspath(file)).startswith(disk)


def due() -> bool:
    global calls
    calls += 1
    return (kind == "kill" and calls == at) or (kind == "full" and calls >= at)


def fail() -> None:
    if kind == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.kill(os.getpid(), signal.SIGKILL)


def faulty_replace(*paths, replace=os.replace, **options):
    if on_disk(paths[-1]) and due():
        fail()
    return replace(*paths, **options)


class FaultyFile(io.FileIO):
    def write(self, data):
        if due():
            super().write(bytes(data)[: len(data) // 2])
            fail()
        return super().write(data)


def faulty_open(file, mode="r", *arguments, open=io.open, **options):
    if mode in ("wb", "ab") and isinstance(file, str | os.PathLike) and on_disk(file):
        return io.BufferedWriter(FaultyFile(file, mode))
    return open(file, mode, *arguments, **options)


if __name__ == "__main__":
    from rrl.cli import main

    kind, at = sys.argv[1], 0 if sys.argv[1] == "count" else int(sys.argv[2])
    disk = os.path.realpath(sys.argv[sys.argv.index("--out") + 1])
    os.replace = os.rename = faulty_replace
    builtins.open = io.open = faulty_open
    code = main(sys.argv[3:])
    if kind == "count":
        Path(sys.argv[2]).write_text(str(calls))
    sys.exit(code)
