"""Start a model server that continues to serve after rrl has ended.

Such a server depends on nothing that rrl removes. It follows the operator's own model folder, so it
also serves the operator's next versions. Its other files lie in a folder that stays.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rrl.core.knob import Configuration
from rrl.serving.launcher import can_bind, exposure, find_executable, fits, kind_of
from rrl.serving.process import START_TIMEOUT_S, ServerProcess
from rrl.serving.process_knobs import prefix
from rrl.serving.servable import newest_version
from rrl.serving.settings import flags
from rrl.support.errors import DataError, ServerError, UsageError
from rrl.support.files import write_atomically

_left: list[ServerProcess] = []  # Python warns about a process that runs and is forgotten


@dataclass(frozen=True)
class Detached:
    """A server that was left running.

    Parameters
    ----------
    pid : int
        Its process number.
    address : str
        ``127.0.0.1:port``, where it serves.
    log : pathlib.Path
        The file of its log.
    exposed : str or None
        One line that says what other machines can reach; None if it is nothing.
    own_address : str
        ``unix:/path``, where nobody else serves even if the port is shared.
    """

    pid: int
    address: str
    log: Path
    exposed: str | None = None
    own_address: str = ""

    @property
    def stop_command(self) -> str:
        """The command that stops the server."""
        return f"kill {self.pid}"

    def stop(self) -> None:
        """Ask the server to end."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)


def socket_path(folder: Path, name: str, port: int) -> Path:
    """Return where a detached server has its unix socket."""
    return folder / f"{name}-{port}.sock"


def start_detached(
    model_path: str | os.PathLike[str],
    configuration: Configuration,
    port: int,
    folder: str | os.PathLike[str],
    *,
    executable: str | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
    shared: bool = False,
) -> Detached:
    """Start a server that outlives this process, and wait until it serves.

    Parameters
    ----------
    model_path : path
        The operator's own base path. The server follows its new versions.
    configuration : configuration
        See :class:`rrl.serving.launcher.ModelServer`.
    port : int
        gRPC port.
    folder : path
        A folder that stays. It gets the batching parameters, the log and a unix socket, with the
        port in their names. Everybody can read these files, except the socket.
    executable : str, optional
        See `find_executable`.
    start_timeout_s : float
        Seconds allowed until the model reports AVAILABLE.
    shared : bool
        Whether a server that listens on the port with ``SO_REUSEPORT`` may still be there. New
        connections then go to either of the two, until that server ends.

    Returns
    -------
    Detached

    Raises
    ------
    UsageError
        If a setting, the port or the time limit is not possible, or the folder's path is too long.
    DataError
        If the model has no version.
    ServerError
        If the port is taken, or if the server does not start. It is then stopped.

    Examples
    --------
    >>> left = start_detached(base, {"inter_op": 2}, 8500, "out/serving")  # doctest: +SKIP
    >>> print(f"stop it with: {left.stop_command}")  # doctest: +SKIP
    stop it with: kill 4711
    """
    base, folder = Path(os.path.abspath(model_path)), Path(folder).absolute()  # perhaps a link
    name, address = base.resolve().name, f"127.0.0.1:{port}"
    if newest_version(base) is None:
        raise DataError(f"{base} holds no model version: it needs {base}/1/")
    found = find_executable(executable)
    own_name = f"{name}-{port}"  # one folder may have the servers of several ports
    batching_file, socket = folder / f"{own_name}-batching.txt", socket_path(folder, name, port)
    own, parameters = flags(configuration, batching_file)
    if not fits(socket):
        raise UsageError(f"{socket}: this path is too long for a socket; choose a shorter folder")
    if not can_bind(port) and not shared:
        raise ServerError(f"{address}: the port is taken; choose another")
    command = [
        *prefix(configuration),
        *found,
        f"--port={port}",
        f"--grpc_socket_path={socket}",
        f"--model_name={name}",
        f"--model_base_path={base}",
        "--grpc_channel_arguments=grpc.so_reuseport=1",
        *own,
    ]
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    log = folder / f"{own_name}.log"
    log.touch()
    if parameters:
        write_atomically(batching_file, parameters)
        batching_file.chmod(0o644)
    log.chmod(0o644)
    # The port may be shared, so the server is asked where only it listens.
    server = ServerProcess(
        command, f"unix:{socket}", name, log=log, tied=False, start_timeout_s=start_timeout_s
    ).start()
    _left.append(server)
    assert server.process is not None
    exposed = exposure(kind_of(found), port)
    return Detached(server.process.pid, address, log, exposed, server.address)
