"""A process that keeps a file locked while it runs, and one that outlives who has started it.

The kernel releases the lock when the process ends, however that ends. So any other process knows
whether it runs. The file has the number of the process, and no other one is taken for it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

from rrl.support.errors import ServerError
from rrl.support.files import write_atomically

KILLED_S = 60.0  # in which the kernel ends a process
BEGINS_S = 10.0  # in which a script notes its number

_started: list[subprocess.Popen[bytes]] = []  # Python warns about one that runs and is forgotten


class Process:
    """A process that has locked a file with its number, perhaps for another process than this one.

    Parameters
    ----------
    file : pathlib.Path
    alone : bool
        Whether signals go to this process only, and not to the group that it leads.
    """

    def __init__(self, file: Path, *, alone: bool = False) -> None:
        self.file, self._alone = file, alone

    @property
    def alive(self) -> bool:
        """Whether it runs; it may be paused."""
        try:
            with self.file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            return False
        return False

    @property
    def noted(self) -> bytes:
        """The number of the process that has locked the file last; it is quicker than `pid`."""
        with suppress(OSError), self.file.open("rb") as file:
            return file.read(20)
        return b""

    @property
    def pid(self) -> int | None:
        """The number of the process; None if it does not run on this machine."""
        # A process that has just ended has no file, and one that has just begun no number in it.
        with suppress(ValueError):
            pid = int(self.noted) if self.alive else None
            # Machines may share a home: elsewhere, another process has the number.
            return pid if pid and _may_have_opened(pid, self.file) else None
        return None

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it, as by SIGSTOP."""
        with suppress(psutil.Error, ValueError):
            return bool(psutil.Process(int(self.noted)).status() == psutil.STATUS_STOPPED)
        return False

    def send(self, number: int) -> None:
        """Send a signal to the process, and to the group and the session that it leads."""
        pid = self.pid
        for other in psutil.pids() if pid and not self._alone else [pid]:
            with suppress(ProcessLookupError, PermissionError):  # it has ended, or is of others
                if other and pid in (other, os.getpgid(other), os.getsid(other)):
                    os.kill(other, number)

    def stop(self, grace_s: float = 10.0) -> bool:
        """End the process, which may be paused, at last by SIGKILL; return whether it ran.

        Raises
        ------
        ServerError
            If it does not end.
        """
        ran = self.alive
        for number, seconds in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILLED_S)):
            self.send(number)
            self.send(signal.SIGCONT)  # a paused process gets the other signal only then
            if wait_until(lambda: not self.alive, seconds):
                return ran
        raise ServerError(
            f"{self.file}: a process keeps it locked and does not end, perhaps on another machine "
            "or in a container; end it there"
        )


class Lasting(Process):
    """A process that a script starts and that outlives who runs the script.

    A supervisor may run the same script: it waits until the process has ended, and then takes its
    place.

    Parameters
    ----------
    folder, name : pathlib.Path, str
        Place and name of the script, and of the file with the number of the process.
    """

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder / f"{name}.pid")
        self.script = folder / f"{name}.sh"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def status(self) -> int | None:
        """The exit status of a process that was started here and has ended."""
        return self._child.poll() if self._child else None

    def start(self, command: Sequence[str], log: Path, *before: str) -> None:
        """Write the script and run it, with its output in a file.

        The script takes the lock, notes its number, runs the lines `before`, and becomes `command`.

        Raises
        ------
        ServerError
            If the script does not begin in time. Then it does not begin later either.
        """
        noted = shlex.quote(str(self.file))
        lines = [
            "# Waits for the process that runs, and then takes its place: for a supervisor.",
            f"exec <>{noted}",  # a command may close other files, but keeps its standard input
            "until flock -n 0; do [ $? = 1 ] || exit 1; sleep 1; done",
            f"[ {noted} -ef /dev/stdin ] || exit 1",  # who stops it for good removes the file
            f"echo $$ >{noted} || exit 1",  # the disk may be full
            *before,
            f"exec {shlex.join(command)}",
        ]
        write_atomically(self.script, "\n".join(lines) + "\n")
        with log.open("wb") as output:
            child = start_apart(["/bin/sh", str(self.script)], subprocess.DEVNULL, output)
        self._child = child
        try:
            begun = wait_until(lambda: bool(self.pid) or child.poll() is not None, BEGINS_S)
            if not begun:
                raise ServerError(f"{self.script}: it did not begin within {BEGINS_S:g} s")
        except BaseException:  # nobody could find it without its number
            child.kill()
            raise


def _may_have_opened(pid: int, file: Path) -> bool:
    """Return whether a process has a file open; True if it has ended, or nobody may know."""
    with suppress(OSError):  # the kernel hides the open files of some processes
        opened = list(Path(f"/proc/{pid}/fd").iterdir())  # none if nobody has asked for its status
        return not opened or any(one.exists() and one.samefile(file) for one in opened)
    return True


def start_apart(
    command: Sequence[str],
    stdin: IO[Any] | int,
    output: IO[bytes] | int,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process that Ctrl-C and a closed terminal do not reach, and that may be forgotten."""
    _started[:] = [one for one in _started if one.poll() is None]
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    _started.append(process)
    return process


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; return False if it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
