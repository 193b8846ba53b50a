"""A process that outlives the one that started it, and how a later one finds or starts it again.

It is started by a script, which notes the number of the process and then becomes it. A supervisor
may run the same script: it waits until the process has ended, and then takes its place.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from rrl.support.files import write_atomically

_left: list[subprocess.Popen[bytes]] = []  # Python warns about a process that runs and is forgotten


class Lasting:
    """A process that a script has started, perhaps for another process than this one.

    Parameters
    ----------
    folder, name : pathlib.Path, str
        Place and name of the script, and of a file with the number of the process.
    mark : str
        A word of the command line that no other process has.
    """

    def __init__(self, folder: Path, name: str, mark: str) -> None:
        self.script, self.noted = folder / f"{name}.sh", folder / f"{name}.pid"
        self.mark = mark
        self._child: subprocess.Popen[bytes] | None = None
        self._last: psutil.Process | None = None  # of another parent, as it was seen last

    @property
    def pid(self) -> int | None:
        """The number of the process; None if it does not run."""
        if self._child is not None and self._child.poll() is None:
            return self._child.pid
        with suppress(OSError, ValueError, psutil.Error):
            process = psutil.Process(int(self.noted.read_text()))
            ended = process.status() == psutil.STATUS_ZOMBIE
            if not ended and any(self.mark in word for word in process.cmdline()):
                self._last = process
                return process.pid
        return None

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    def poll(self) -> int | None:
        """Return the exit status; None while it runs. Only a child has a status other than 0."""
        if self.alive:
            return None
        return (self._child and self._child.returncode) or 0

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, or raise :class:`subprocess.TimeoutExpired`; return the status."""
        if self._child is not None and self._last is None:
            return self._child.wait(timeout)

        if not wait_until(self._has_ended, math.inf if timeout is None else timeout):
            raise subprocess.TimeoutExpired(self.mark, timeout or 0.0)
        return self.poll() or 0

    def _has_ended(self) -> bool:
        """Return whether what was seen last has ended; another parent may never ask for its status.

        While a process ends, it has no command line any more. Its first thread may end before the
        others.
        """
        last = self._last
        with suppress(psutil.Error):
            if last is not None and last.is_running():
                return last.status() == psutil.STATUS_ZOMBIE and last.num_threads() == 1
        return True

    def prepare(self, command: Sequence[str], *before: str) -> None:
        """Write the script: it runs the lines `before`, and then becomes `command`.

        The command must have the mark of the process in one of its words.
        """
        noted, folder = shlex.quote(str(self.noted)), shlex.quote(str(self.noted.parent))
        runs = f'grep -qsF -e {shlex.quote(self.mark)} "/proc/$(cat {noted})/cmdline"'
        lines = [
            "# Waits for the process that runs, and then takes its place: for a supervisor.",
            f"while [ -e {noted} ] && {runs}; do sleep 1; done",
            f"[ -d {folder} ] || exit 1",  # who stops the process for good removes it
            f"echo $$ > {noted}",
            *before,
            f"exec {shlex.join(command)}",
        ]
        write_atomically(self.script, "\n".join(lines) + "\n")

    def start(self, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Run the script, with its output in a file; by default in this process's environment."""
        self._last = None
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                ["/bin/sh", str(self.script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C and a closed terminal do not reach it
            )
        _left.append(self._child)


def send(process: Any, number: int) -> None:
    """Send a signal to a process, of any of the three kinds here, and its group, if it runs."""
    if process.poll() is None:
        with suppress(ProcessLookupError, TypeError):  # it has just ended, and has no number
            leads = os.getpgid(process.pid) == process.pid
            (os.killpg if leads else os.kill)(process.pid, number)


def stop(process: Any, grace_s: float = 10.0) -> int:
    """End a process, which may be paused, and its group, at last by SIGKILL; return the status."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        send(process, number)
        send(process, signal.SIGCONT)  # a paused process gets the other signal only then
        with suppress(subprocess.TimeoutExpired):
            return int(process.wait(grace_s))
    return int(process.wait())


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; return False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
