"""Start, watch and stop a model server: `tensorflow_model_server` or the local one.

One launcher starts both executables, because they take the same flags. Each configuration needs a
process of its own, because TensorFlow fixes its thread pools with the first session of a process.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from rrl.core.knob import Configuration
from rrl.serving.process import LOCAL_COMMAND, START_TIMEOUT_S, ServerProcess, new_log
from rrl.serving.process_knobs import cpus_of
from rrl.serving.servable import newest_version
from rrl.serving.settings import flags
from rrl.support.errors import DataError, UsageError
from rrl.support.files import write_atomically
from rrl.support.owned_folder import OwnedFolder, places

BINARY = "tensorflow_model_server"
LOCAL = "local"
LARGEST_PORT = 65535
SOCKET = "grpc.sock"
LONGEST_SOCKET = 103  # bytes; Linux allows 107 in a socket's path, other systems fewer


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


class ModelServer(ServerProcess):
    """A model server process that no other machine can reach; a context manager.

    The server listens on a unix socket in a folder of this process, and on nothing else. It serves
    the version of the model that is the newest when it starts, by the name of the model's folder.

    Parameters
    ----------
    model_path : path
        Base path with numbered version folders, as for `--model_base_path`.
    configuration : configuration
        Settings named in `rrl.serving.settings.KNOBS`, and flags, environment variables and CPUs of
        :mod:`rrl.serving.process_knobs`. An empty mapping means the server's defaults.
    executable : str, optional
        See `find_executable`.
    logs : path, optional
        A folder for the server's log, which is named ``NAME-N.log`` there. By default, the log is a
        temporary file. It stays only if the server does not start or crashes.
    rest : bool
        Whether it also answers REST, at a free port of 127.0.0.1.
    start_timeout_s : float
        Seconds allowed until the model reports AVAILABLE.

    Attributes
    ----------
    address : str
        The target for gRPC: ``unix:/path``.
    rest_address : str or None
        ``127.0.0.1:port``; None if it has none.
    log : pathlib.Path
        The server's log.

    Raises
    ------
    UsageError
        If a setting or the time limit is not possible.
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
        logs: str | os.PathLike[str] | None = None,
        rest: bool = False,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        name, settings = Path(model_path).resolve().name, dict(configuration or {})
        command = find_executable(executable)
        self.kind = kind_of(command)
        usual, short = places()[0], places()[-1]
        fitting = usual if fits(usual / "rrl-server-xxxxxxxx" / SOCKET) else short
        self._folder = OwnedFolder("server", fitting)
        folder = self._folder.path
        rest_port = free_port() if rest else None
        self.rest_address = f"127.0.0.1:{rest_port}" if rest_port else None
        own = server_flags(model_path, settings, folder, self.kind, rest_port)
        super().__init__(
            [*command, *own, "--file_system_poll_wait_seconds=0"],
            f"unix:{folder / SOCKET}",
            name,
            configuration=settings,
            log=new_log(Path(logs).absolute(), name) if logs else folder / "server.log",
            log_stays=bool(logs),
            start_timeout_s=start_timeout_s,
        )


def server_flags(
    model_path: str | os.PathLike[str],
    configuration: Configuration,
    folder: Path,
    kind: str,
    rest_port: int | None,
) -> list[str]:
    """Return the flags of a server whose socket, and batching parameters if any, are in a folder.

    Raises
    ------
    UsageError
        If a setting is not possible.
    DataError
        If the model has no version.
    """
    base = Path(os.path.abspath(model_path))  # a link may lead to another folder later, so it stays
    batching_file = folder / "batching.txt"
    own, parameters = flags(configuration, batching_file, local=kind == LOCAL)
    cpus_of(configuration)  # more than there are cannot be bound to
    if newest_version(base) is None:
        raise DataError(f"{base} holds no model version: it needs {base}/1/")
    if parameters:
        write_atomically(batching_file, parameters)
    return [
        "--port=0",
        f"--grpc_socket_path={folder / SOCKET}",
        *([f"--rest_api_port={rest_port}"] if rest_port else []),
        f"--model_name={base.resolve().name}",
        f"--model_base_path={base}",
        *own,
    ]


def fits(socket_path: Path) -> bool:
    """Return whether the path of a unix socket is short enough."""
    return len(os.fsencode(socket_path)) <= LONGEST_SOCKET


def free_port() -> int:
    """Return a loopback port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def can_bind(port: int, host: str = "127.0.0.1") -> bool:
    """Return whether a port is free at an address of this machine.

    Raises
    ------
    UsageError
        If there is no such port.
    """
    if not 0 < port <= LARGEST_PORT:
        raise UsageError(f"port {port}: choose one from 1 to {LARGEST_PORT}")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
