"""Start, watch and stop a model server: `tensorflow_model_server` or the local one.

One launcher starts both executables, because they take the same flags. Each configuration needs a
process of its own, because TensorFlow fixes its thread pools with the first session of a process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing, suppress
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Self
from urllib.parse import quote

import psutil

from rrl.core.knob import Configuration, plain
from rrl.serving.lasting import Lasting, wait_until
from rrl.serving.loadgen import Client, LastingError
from rrl.serving.preloaded import ENVIRONMENT, LOCAL_COMMAND, Child
from rrl.serving.saved_model import newest_version
from rrl.serving.settings import cpus_of, environment_of, flags, prefix
from rrl.support.errors import HangError, ServerError, UsageError
from rrl.support.files import write_atomically
from rrl.support.folders import owned_folder

BINARY = "tensorflow_model_server"
LOCAL = "local"
START_TIMEOUT_S = 120.0
SOCKET = "sock"  # short, as is the name of its folder
LONGEST_SOCKET = 103  # bytes; Linux allows 107 in a socket's path, other systems fewer
NOT_IN_SOCKETS = "%?#"  # gRPC reads the path as a URI
PREFIX = "s-"  # of the folder of a server that lasts
SERVER = "server"  # the name of its process in there

_COMPLAINTS = {
    "unknown argument": "ignored a flag it does not know",
    "failed to start http server": "serves no REST; run it again, or leave --rest-port out",
}
"""What the original logs when it goes on without something that it was asked for."""


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
        return list(LOCAL_COMMAND)
    path = shutil.which(executable)
    if path is None:
        raise UsageError(f"no executable {executable!r}; install it, or use {LOCAL!r}")
    return [os.path.abspath(path)]


def kind_of(command: Sequence[str]) -> str:
    """Return which executable a command of :func:`find_executable` starts: `LOCAL` or `BINARY`."""
    return LOCAL if command[0] == sys.executable else BINARY


class StartTimeoutError(HangError, LastingError):
    """A server that has not become available in time; another start would take as long."""


class ModelServer:
    """A process that serves a model by the name of the model's folder; a context manager.

    The server listens on a unix socket in a folder of its own, so no other machine can reach it.
    By default, it ends with this process, however that ends, and it serves the version of the model
    that is the newest when it starts. One that lasts depends on nothing that rrl removes. If it is
    a `tensorflow_model_server`, it also serves the next versions in the operator's model folder;
    the local server does so only after a new start.

    Parameters
    ----------
    model_path : path
        Base path with numbered version folders, as for `--model_base_path`.
    configuration : configuration
        Settings of :mod:`rrl.serving.settings`. An empty mapping means the server's defaults.
    executable : str, optional
        See `find_executable`.
    logs : path, optional
        A folder for the server's log, which is named ``NAME-N.log`` there. By default, the log is a
        temporary file. It stays only if the server does not start or crashes.
    rest : bool
        Whether it also answers REST, at a free port of 127.0.0.1.
    start_timeout_s : float
        Seconds allowed until the model reports AVAILABLE.
    lasting : path, optional
        A folder that stays, if the server is to outlive this process. The server gets a folder in
        it for the script that starts it, its socket and its batching parameters, which
        :func:`rrl.serving.service.stop_others` removes.

    Attributes
    ----------
    address : str
        The target for gRPC: ``unix:/path``.
    rest_address : str or None
        ``127.0.0.1:port``; None if it has none.
    log : pathlib.Path
        The server's log.
    kind : str
        Which executable it is: `LOCAL` or `BINARY`.
    process : Child or Lasting

    Raises
    ------
    UsageError
        If a setting or the time limit is not possible, or a folder's path is too long.
    DataError
        If the folder holds no model version.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        configuration: Configuration | None = None,
        *,
        executable: str | None = None,
        logs: str | os.PathLike[str] | None = None,
        rest: bool = False,
        start_timeout_s: float = START_TIMEOUT_S,
        lasting: Path | None = None,
    ) -> None:
        if not start_timeout_s > 0:
            raise UsageError(f"start timeout {start_timeout_s} s: give a number above 0")
        self._timeout_s, self._log_stays = start_timeout_s, bool(logs)
        given = (configuration or {}).items()
        self.configuration = {name: plain(value) for name, value in given}
        model = Path(os.path.abspath(model_path))  # a link may lead elsewhere later
        self.name = model.resolve().name
        program = find_executable(executable)
        self.kind = kind_of(program)
        self.rest_port = free_port() if rest else None
        self.rest_address = f"127.0.0.1:{self.rest_port}" if rest else None
        newest_version(model)  # there must be one
        cpus_of(self.configuration)  # more than there are cannot be bound to
        if lasting is None:
            self.folder = owned_folder(self, fits)
            self.process: Child | Lasting = Child(self.folder / f"{SERVER}.lock")
            self.log = new_log(Path(logs), self.name) if logs else self.folder / "server.log"
        else:
            if not fits(lasting.absolute() / PREFIX):
                raise UsageError(
                    f"{lasting}: too long for a socket, or with {NOT_IN_SOCKETS}; set "
                    "XDG_STATE_HOME to another folder"
                )
            lasting.mkdir(parents=True, exist_ok=True)
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=lasting.absolute()))
            self.process = Lasting(self.folder, SERVER)
            self.log = new_log(Path(logs or lasting), self.name)
        batching = self.folder / "batching.txt"
        own, parameters = flags(self.configuration, batching)
        if parameters:
            write_atomically(batching, parameters)
        self.command = [
            *program,
            "--port=0",
            f"--grpc_socket_path={self.folder / SOCKET}",
            *([f"--rest_api_port={self.rest_port}"] if rest else []),
            f"--model_name={self.name}",
            f"--model_base_path={model}",
            *own,
            *([] if lasting or self.kind == LOCAL else ["--file_system_poll_wait_seconds=0"]),
        ]
        self.address = f"unix:{self.folder / SOCKET}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def exposed(self) -> str | None:
        """One line that says what other machines can reach; None if it is nothing."""
        if self.kind == LOCAL or self.rest_port is None:
            return None
        return (
            f"{BINARY} listens on all addresses at port {self.rest_port}: other machines can send "
            "requests, unless a firewall closes the port"
        )

    def start(self) -> Self:
        """Start the process and wait until it reports the model AVAILABLE.

        Raises
        ------
        ServerError
            If it does not. The message names the log, which stays, and quotes its last line. If the
            time was not enough, it is a LastingError, since another start would take as long.
        """
        self.log.touch(mode=0o600)  # it is private, wherever it is moved
        try:
            if isinstance(self.process, Lasting):
                words = (f"{name}={value}" for name, value in ENVIRONMENT.items())
                command = ["env", *words, *prefix(self.configuration), *self.command]
                self.process.start(command, self.log)
            else:
                cpus, variables = cpus_of(self.configuration), environment_of(self.configuration)
                self.process.start(self.command, self.log, cpus=cpus, variables=variables)
            self._wait_until_available()
        except BaseException:
            self.stop()
            raise
        return self

    def _wait_until_available(self) -> None:
        with Client(self.address, self.name) as client:

            def ready() -> bool:
                self.check()
                answers = client.available(timeout_s=0.25)  # the original opens REST afterwards
                self._check_log()
                return answers and self._answers_rest()

            if not wait_until(ready, self._timeout_s):
                raise StartTimeoutError(
                    f"server of {self.name!r}: the model is not available "
                    f"{'by gRPC and REST ' if self.rest_port else ''}after "
                    f"{self._timeout_s:.3g} s; allow more seconds with --start-timeout; "
                    f"{self._kept_log()}"
                )

    def _answers_rest(self) -> bool:
        """Return whether the model answers at the REST port, if it has one."""
        if not self.rest_port:
            return True
        connection = HTTPConnection("127.0.0.1", self.rest_port, timeout=0.25)
        with closing(connection), suppress(OSError, HTTPException):
            connection.request("GET", f"/v1/models/{quote(self.name)}")
            return connection.getresponse().status == HTTPStatus.OK
        return False

    def _check_log(self) -> None:
        """Raise ServerError if the log says that the server lacks something, though it goes on."""
        for line in self._log_lines():
            for words, lacks in _COMPLAINTS.items():
                if words in line.lower():
                    said = f"{lacks}: {line}; {self._kept_log()}"
                    raise ServerError(f"server of {self.name!r} {said}")

    @property
    def alive(self) -> bool:
        """Whether the process runs; it may be paused."""
        return self.process.alive

    def check(self) -> None:
        """Raise ServerError if the process has ended."""
        if not self.alive:
            said = f"ended with status {self.process.status}; {self._kept_log()}"
            raise ServerError(f"server of {self.name!r} {said}")

    def answers(self, timeout_s: float) -> bool:
        """Return whether it tells within some seconds that the model is AVAILABLE."""
        with Client(self.address, self.name) as client:
            return client.available(timeout_s)

    def silent(self, waited_s: float) -> ServerError:
        """Return the error of a server that runs, but does not tell its state."""
        stopped = ", stopped by a signal," * (self.process.stopped if self.process else 0)
        return HangError(
            f"server of {self.name!r} hangs: it runs{stopped} but has not told its state within "
            f"{waited_s:g} s"
        )

    def memory_bytes(self) -> int | None:
        """Return the memory of the process in bytes; None if it is not running.

        Mapped files, such as TensorFlow's libraries, do not count: a forked server has read other
        parts of them than one that was started as usual.
        """
        with suppress(psutil.Error):
            if pid := self.process.pid:
                used = psutil.Process(pid).memory_info()
                return int(used.rss - used.shared)
        return None

    def pause(self) -> None:
        """Pause the whole process group; it then uses no processor, and requests wait.

        A process that has ended is not an error.
        """
        self.process.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process group continue."""
        self.process.send(signal.SIGCONT)

    def stop(self, grace_s: float = 10.0) -> None:
        """Stop the whole process group, which may be paused."""
        self.process.stop(grace_s)

    def _log_lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def _kept_log(self) -> str:
        """Make the log stay, and return where it is and its last line, for a message."""
        if not self._log_stays and self.log.exists():
            kept = new_log(Path(tempfile.gettempdir()), f"rrl-{self.name}")
            shutil.move(self.log, kept)  # perhaps to another file system
            self.log, self._log_stays = kept, True
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
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        path = folder / f"{name}-{number}.log"
        with suppress(FileExistsError):
            path.touch(mode=0o600, exist_ok=False)
            return path
    raise AssertionError("unreachable")


def fits(folder: Path) -> bool:
    """Return whether gRPC can use a socket in a new folder whose name begins so.

    The path has to be short. The name gets eight letters more.
    """
    path = os.fsencode(f"{folder}xxxxxxxx/{SOCKET}")
    return len(path) <= LONGEST_SOCKET and not set(path) & set(NOT_IN_SOCKETS.encode())


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def port_error(port: int, host: str = "127.0.0.1") -> str:
    """Return why nothing can listen at a port of an address; empty if the port is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        return (error.strerror or str(error)).partition(" (while ")[0]
    return ""
