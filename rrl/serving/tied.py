"""Run a command that the kernel kills when the parent process dies: `tied.py PARENT CMD ...`.

This file runs as a script and needs only the standard library. It replaces a `preexec_fn`, which is
not safe in a process with threads. Without it, the server of a killed notebook would keep running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def tied_command(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one, tied to this process."""
    return [sys.executable, "-SE", __file__, str(os.getpid()), *command]


def tie(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; end it if that has happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died before the call
            sys.exit(1)


if __name__ == "__main__":
    tie(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
