"""A process that outlives the one that started it, and how a later one finds or starts it again.

It is started by a script, which notes the number of the process and then becomes it. A supervisor
may run the same script: it waits until the process has ended, and then takes its place.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from rrl.support.files import write_atomically

_left: list[subprocess.Popen[bytes]] = []  # Python warns about a process that runs and is forgotten


@dataclass(frozen=True)
class Lasting:
    """A process that a script has started.

    Parameters
    ----------
    folder : pathlib.Path
        The folder of the script and of the number of the process.
    name : str
        The name of both files.
    mark : str
        A word of the command line that no other process has.
    """

    folder: Path
    name: str
    mark: str

    @property
    def script(self) -> Path:
        """The script that starts it."""
        return self.folder / f"{self.name}.sh"

    @property
    def noted(self) -> Path:
        """The file with its number."""
        return self.folder / f"{self.name}.pid"

    @property
    def pid(self) -> int | None:
        """The number of the process; None if it does not run."""
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self.noted.read_text()))
            ended = process.status() == psutil.STATUS_ZOMBIE
            if not ended and any(self.mark in word for word in process.cmdline()):
                return process.pid
        return None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    def prepare(self, command: Sequence[str], *before: str) -> None:
        """Write the script, which becomes the process if that does not run already.

        Parameters
        ----------
        command : sequence of str
            It must have the mark of the process in one of its words.
        *before : str
            Lines of the shell that come first.
        """
        noted = shlex.quote(str(self.noted))
        runs = f'grep -qsF -e {shlex.quote(self.mark)} "/proc/$(cat {noted})/cmdline"'
        lines = [
            "# Waits for the process that runs, and then takes its place: for a supervisor.",
            f"while [ -e {noted} ] && {runs}; do sleep 1; done",
            f"echo $$ > {noted}",
            *before,
            f"exec {shlex.join(command)}",
        ]
        write_atomically(self.script, "\n".join(lines) + "\n")

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Run the script, with its output in a file."""
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/bin/sh", str(self.script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C and a closed terminal do not reach it
            )
        _left.append(process)
        return process

    def stop(self, grace_s: float = 10.0) -> None:
        """End it; after some seconds it is killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid) is None:
                return
            with suppress(OSError, psutil.Error):
                process = psutil.Process(pid)
                os.kill(pid, number)
                os.kill(pid, signal.SIGCONT)  # a stopped process gets the signal only then
                with suppress(psutil.TimeoutExpired):
                    process.wait(grace_s)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; return False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def resident_bytes(pid: int) -> int | None:
    """Return the resident memory of a process in bytes; None if it does not run."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return None
