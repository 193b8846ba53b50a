"""A model server's process: start it, wait until it answers, watch, pause and stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Self

from rrl.core.knob import Configuration
from rrl.serving.lasting import resident_bytes, wait_until
from rrl.serving.loadgen import Client, LastingError
from rrl.serving.preloaded import Forked, fork_server
from rrl.serving.process_knobs import cpus_of, environment_of, prefix
from rrl.serving.tied import tied_command
from rrl.support.errors import ServerError, UsageError

START_TIMEOUT_S = 120.0
LOCAL_COMMAND = [sys.executable, "-m", "rrl.serving.local_server"]

# The kernel ties a parent-death signal to the *thread* that forked, so all children are started
# from one thread that lives as long as the process.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="rrl-spawner")


class ServerProcess:
    """A process that serves a model; a context manager.

    Parameters
    ----------
    command : sequence of str
        The command that starts the server.
    address : str
        ``host:port`` or ``unix:/path``, where the process is asked whether the model is AVAILABLE.
    name : str
        The model's name.
    configuration : configuration, optional
        The environment variables and the CPUs in it are those of the process.
    log : pathlib.Path
        File for the server's log. The file is overwritten.
    log_stays : bool
        Whether the log stays. Otherwise its folder is removed at the end, and so the log is moved
        to the folder for temporary files if the server does not start or crashes.
    tied : bool
        Whether the kernel kills the server when this process ends.
    start_timeout_s : float
        Seconds allowed until the model is AVAILABLE.

    Raises
    ------
    UsageError
        If the time limit is not a positive number.
    """

    def __init__(
        self,
        command: Sequence[str],
        address: str,
        name: str,
        *,
        configuration: Configuration | None = None,
        log: Path,
        log_stays: bool = True,
        tied: bool = True,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        if not start_timeout_s > 0:
            raise UsageError(f"start timeout {start_timeout_s} s: give a number above 0")
        self.command, self.address, self.name = list(command), address, name
        self.configuration: Mapping[str, Any] = dict(configuration or {})
        self.log, self._log_stays, self._tied = log, log_stays, tied
        self._timeout_s = start_timeout_s
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def title(self) -> str:
        """What messages call the server."""
        return f"server of {self.name!r}"

    def start(self) -> Self:
        """Start the process and wait until it reports the model AVAILABLE.

        Raises
        ------
        ServerError
            If it does not. The message names the log, which stays, and quotes its last line. If the
            time was not enough, it is a LastingError, since another start would take as long.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if not self._log_stays:
            self.log.touch(mode=0o600)  # it is private, wherever it is moved
        with self.log.open("wb") as log:
            self.process = _spawner.submit(self._spawn, log.fileno()).result()
        try:
            self._wait_until_available()
        except BaseException:
            self.stop()
            raise
        return self

    def _spawn(self, log: int) -> subprocess.Popen[bytes] | Forked:
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONUNBUFFERED": "1"}
        start, arguments = self.command[: len(LOCAL_COMMAND)], self.command[len(LOCAL_COMMAND) :]
        if self._tied and start == LOCAL_COMMAND:
            own = environment | environment_of(self.configuration)
            forked = fork_server(arguments, str(self.log), own, cpus_of(self.configuration))
            if forked:
                return forked
        command = [*prefix(self.configuration), *self.command]
        return subprocess.Popen(
            tied_command(command) if self._tied else command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C reaches the tuner, which then stops the server
        )

    def _wait_until_available(self) -> None:
        with Client(self.address, self.name) as client:

            def ready() -> bool:
                self.check()
                return client.available(timeout_s=0.25)

            if not wait_until(ready, self._timeout_s):
                raise LastingError(
                    f"{self.title}: the model is not available after {self._timeout_s:g} s; "
                    f"allow more seconds with --start-timeout; {self.kept_log()}"
                )
        unknown = [line for line in self._log_lines() if "unknown argument" in line.lower()]
        if unknown:
            raise ServerError(
                f"{self.title} ignored a flag it does not know: {unknown[0]}; {self.kept_log()}"
            )

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may be paused."""
        return self.process is not None and self.process.poll() is None

    def check(self) -> None:
        """Raise ServerError if the process has ended."""
        if not self.alive:
            code = self.process and self.process.returncode
            raise ServerError(f"{self.title} ended with status {code}; {self.kept_log()}")

    def memory_bytes(self) -> int | None:
        """Return the resident memory of the process in bytes; None if it is not running."""
        return resident_bytes(self.process.pid) if self.process else None

    def pause(self) -> None:
        """Pause the whole process group; it then uses no processor and keeps its memory.

        Requests wait until :meth:`resume`. A process that has ended is not an error.
        """
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process group continue."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def stop(self, grace_s: float = 10.0) -> int | None:
        """Stop the whole process group, which may be paused, and return the exit status."""
        process = self.process
        if process is None:
            return None
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal(number)
            self.resume()  # a paused process gets the signal only then
            with suppress(subprocess.TimeoutExpired):
                return process.wait(grace_s)
        return process.wait()

    def _log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def kept_log(self) -> str:
        """Make the log stay, and return where it is and its last line, for a message."""
        if not self._log_stays and self.log.exists():
            kept = new_log(Path(tempfile.gettempdir()), f"rrl-{self.name}")
            self.log = self.log.replace(kept)  # a process that still runs continues to write there
            self._log_stays = True
        lines = [line for line in self._log_lines() if line.strip()]
        return f"the log is {self.log}: {lines[-1] if lines else '(empty log)'}"


def new_log(folder: Path, name: str) -> Path:
    """Make an empty file ``NAME-N.log`` with the first number that is free, and return it.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     [new_log(Path(folder), "resnet").name for _ in range(2)]
    ['resnet-1.log', 'resnet-2.log']
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / f"{name}-{number}.log"
        with suppress(FileExistsError):
            path.touch(exist_ok=False)
            return path
    raise AssertionError("unreachable")
