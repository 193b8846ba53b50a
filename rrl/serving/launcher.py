"""Start, watch and stop a model server: `tensorflow_model_server` or the local one.

One launcher starts both executables, because they take the same flags. Other thread counts need
another process, because TensorFlow fixes its thread pools with the first session of a process. The
other settings change in the running process, by a new version of the model.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from rrl.core.knob import Configuration
from rrl.serving.batching import BatchingParameters
from rrl.serving.loadgen import Client
from rrl.serving.ports import listeners
from rrl.serving.settings import ADAPTIVE, batching, can_switch, process_flags
from rrl.serving.version_folders import VersionFolders
from rrl.support.errors import ServerError, UsageError

BINARY = "tensorflow_model_server"
LOCAL = "local"
_TIED = Path(__file__).with_name("tied.py")
POLL_S = {LOCAL: 0.1, BINARY: 1}  # seconds; the original accepts only whole seconds

# The kernel ties a parent-death signal to the *thread* that forked, so all children are started
# from one thread that lives as long as the process.
_spawner = ThreadPoolExecutor(1, thread_name_prefix="rrl-spawner")


def find_executable(executable: str | None = None) -> list[str]:
    """Return the command that starts a server.

    Parameters
    ----------
    executable : str, optional
        ``"local"`` for the local server, or a path to a `tensorflow_model_server`. By default, the
        binary is used if it is on the PATH. Otherwise the local server is used.

    Raises
    ------
    UsageError
        If a named executable is not found.
    """
    if executable is None:
        executable = shutil.which(BINARY) or LOCAL
    if executable == LOCAL:
        return [sys.executable, "-m", "rrl.serving.local_server"]
    path = shutil.which(executable)
    if path is None:
        raise UsageError(f"no executable {executable!r}; install it, or use {LOCAL!r}")
    return [path]


def kind_of(command: Sequence[str]) -> str:
    """Return which executable a command of :func:`find_executable` starts: `LOCAL` or `BINARY`."""
    return LOCAL if command[0] == sys.executable else BINARY


class ModelServer:
    """A model server process on the loopback address; a context manager.

    Parameters
    ----------
    model_path : path
        Base path with numbered version folders, as for `--model_base_path`.
    configuration : mapping of str to int
        Settings named in `KNOBS`. An empty mapping means the server's defaults.
    executable : str, optional
        See `find_executable`.
    port : int, optional
        gRPC port. By default, a free port is chosen.
    name : str, optional
        Model name (default: the folder's name).
    log : path, optional
        File for the server's log. By default, it is a temporary file.
    extra_flags : sequence of str
        Further flags. They are passed on without a change.
    start_timeout_s : float
        Seconds allowed until the model reports AVAILABLE.
    share_port : bool
        Whether the server listens beside a `Front` that has the port and will leave it.

    Raises
    ------
    DataError
        If the folder holds no model version.
    ServerError
        If the server does not start. The message quotes the last line of its log.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        configuration: Configuration | None = None,
        *,
        executable: str | None = None,
        port: int | None = None,
        name: str | None = None,
        log: str | os.PathLike[str] | None = None,
        extra_flags: Sequence[str] = (),
        start_timeout_s: float = 120.0,
        share_port: bool = False,
    ) -> None:
        self.base = Path(model_path).resolve()
        self.configuration: Mapping[str, Any] = dict(configuration or {})
        self._started = self.configuration
        self.name = name or self.base.name
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._folder = tempfile.TemporaryDirectory(prefix="rrl-server-")
        folder = Path(self._folder.name)
        self.log = Path(log) if log else folder / "server.log"
        self._timeout_s, self._share_port = start_timeout_s, share_port
        parameters, own = batching(self.configuration), process_flags(self.configuration)
        command = find_executable(executable)
        self.kind = kind_of(command)
        self.versions = VersionFolders(self.base, folder / "versions", self.name)
        self.versions.add(parameters)
        if parameters is not None:
            own += ["--enable_batching", "--enable_per_model_batching_parameters"]
            own += self._threads(parameters, folder / "batching.txt")
        self.command = [
            *command,
            f"--port={self.port}",
            f"--model_name={self.name}",
            f"--model_base_path={self.versions.base}",
            f"--file_system_poll_wait_seconds={POLL_S[self.kind]}",
            # Two servers on one port would share its requests; the second must fail instead.
            f"--grpc_channel_arguments=grpc.so_reuseport={int(share_port)}",
            *own,
            *extra_flags,
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def _threads(self, parameters: BatchingParameters, file: Path) -> list[str]:
        """Return the flags for the batch threads, which all versions of a process share."""
        if not parameters.adaptive:
            common = BatchingParameters(num_batch_threads=parameters.num_batch_threads)
            file.write_text(common.to_text())
            return [f"--batching_parameters_file={file}"]
        if self.kind != LOCAL:
            raise UsageError(f"adaptive batch threads ({ADAPTIVE}) need the local server")
        return ["--adaptive_batching"]

    def __enter__(self) -> ModelServer:
        return self.start()

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> ModelServer:
        """Start the process and wait until it reports the model AVAILABLE."""
        least = listeners(self.port) + 1 if self._share_port else 0
        if not (self._share_port or can_bind(self.port)):  # another process would answer for us
            raise ServerError(f"{self.address}: the port is taken; choose another, or none")
        guarded = [sys.executable, "-SE", str(_TIED), str(os.getpid()), *self.command]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONUNBUFFERED": "1"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as log:
            self.process = _spawner.submit(
                subprocess.Popen,
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches the tuner, which then stops the server
            ).result()
        try:
            self._wait_until_available(least)
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_available(self, least: int) -> None:
        deadline = time.monotonic() + self._timeout_s
        with Client(self.address, self.name) as client:
            # On a shared port, the answer may be that of the server that was there before.
            while listeners(self.port) < least or not client.available(timeout_s=0.25):
                self.check()
                time.sleep(0.02)
                if time.monotonic() > deadline:
                    raise ServerError(
                        f"{self.address}: {self.name!r} not available after {self._timeout_s:.0f} s"
                        f"; the log is {self.log}: {self.last_words()}"
                    )
        unknown = [line for line in self._log_lines() if "unknown argument" in line.lower()]
        if unknown:
            raise ServerError(f"{self.kind} ignored a flag it does not know: {unknown[0]}")

    def can_switch(self, configuration: Configuration) -> bool:
        """Return whether the process can change to a configuration without a restart."""
        return self.process is not None and can_switch(self._started, configuration)

    def switch(self, configuration: Configuration) -> None:
        """Change to a configuration that `can_switch` allows, by a new version of the model.

        The new version is loaded beside the old one. The method returns when the new version is
        warm and answers, and the old one is drained and unloaded.

        Raises
        ------
        ServerError
            If the new version is not available in time. The old one then continues to serve.
        """
        version = self.versions.add(batching(configuration))
        deadline = time.monotonic() + self._timeout_s
        with Client(self.address, self.name) as client:
            while True:
                states = client.states(timeout_s=1.0)
                state, error = states.pop(version, ("START", ""))
                if state == "AVAILABLE" and all(old == "END" for old, _ in states.values()):
                    break
                if state == "END" or time.monotonic() > deadline:
                    self.versions.remove(version)
                    why = error or f"its version is {state} after {self._timeout_s:.0f} s"
                    raise ServerError(
                        f"{self.address}: no switch to {dict(configuration)}: {why}; the earlier "
                        f"settings stay in service; the log is {self.log}"
                    )
                self.check()
                time.sleep(0.02)
        self.versions.keep(version)
        self.configuration = dict(configuration)

    def check(self) -> None:
        """Raise ServerError if the process has ended."""
        code = None if self.process is None else self.process.poll()
        if self.process is None or code is not None:
            raise ServerError(
                f"{self.address}: the server ended with status {code}: {self.last_words()}"
            )

    def stop(self, grace_s: float = 10.0) -> int | None:
        """Stop the whole process group and return the exit status."""
        process = self.process
        if process is None:
            return None
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, signum)
                try:
                    process.wait(grace_s)
                except subprocess.TimeoutExpired:
                    continue
        return process.wait()

    def _log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def last_words(self) -> str:
        """Return the last line of the server's log."""
        return next((line for line in reversed(self._log_lines()) if line.strip()), "(empty log)")


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def can_bind(port: int) -> bool:
    """Return whether a loopback port is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
