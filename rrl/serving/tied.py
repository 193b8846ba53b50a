"""Become a command that the kernel kills when the parent process dies: `tied.py PARENT CMD ...`.

Run as a script on the standard library alone, in place of a `preexec_fn`, which is not safe in a
process with threads. Without it a killed notebook would leave its server running.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            sys.exit(1)
    os.execv(command[0], command)
