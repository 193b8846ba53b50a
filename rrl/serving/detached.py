"""What outlives a tuner: a model server on a unix socket, and the folder of the service at a port.

Such a server depends on nothing that rrl removes. It follows the operator's own model folder, so it
also serves the operator's next versions. Its other files lie in a folder of its own, in the folder
of the port, which also has the files of its Envoy, and says who tunes the service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rrl.core.knob import Configuration, plain
from rrl.serving.envoy import envoy_process
from rrl.serving.lasting import Lasting, resident_bytes, wait_until
from rrl.serving.launcher import (
    BINARY,
    LOCAL,
    SOCKET,
    ModelServer,
    find_executable,
    fits,
    free_port,
    kind_of,
    server_flags,
)
from rrl.serving.process import START_TIMEOUT_S, ServerProcess, new_log
from rrl.serving.process_knobs import prefix
from rrl.support.errors import ServerError, UsageError
from rrl.support.files import write_atomically
from rrl.support.one_writer import open_alone
from rrl.support.own_folder import own_folder

PREFIX = "server-"  # of the folder of a server, in the folder of its port
NOTE = "server.json"
CURRENT = "server.sh"
TUNER = "tuner.lock"  # with the number of the process that tunes
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW

_left: list[ServerProcess] = []  # Python warns about a process that runs and is forgotten


@dataclass(frozen=True)
class Detached:
    """A server that was left running.

    Parameters
    ----------
    folder : str
        The folder of its files alone, except its log.
    model : str
        The base path that it follows.
    name : str
        The name of its model.
    configuration : mapping
    kind : str
        The executable, see `rrl.serving.launcher.kind_of`.
    log : str
        The file of its log.
    rest_port : int, optional
        Its port for REST; None if it has none.
    """

    folder: str
    model: str
    name: str
    configuration: dict[str, Any]
    kind: str
    log: str
    rest_port: int | None = None

    @property
    def address(self) -> str:
        """Its gRPC address, ``unix:/path``."""
        return f"unix:{self.process.mark}"

    @property
    def rest_address(self) -> str | None:
        """Its REST address, ``127.0.0.1:port``; None if it has none."""
        return None if self.rest_port is None else f"127.0.0.1:{self.rest_port}"

    @property
    def title(self) -> str:
        """What messages call the server."""
        return f"kept server of {self.name!r}"

    @property
    def exposed(self) -> str | None:
        """One line that says what other machines can reach; None if it is nothing."""
        if self.kind == LOCAL or self.rest_port is None:
            return None
        return (
            f"{BINARY} listens on all addresses at port {self.rest_port}: other machines can send "
            "requests, unless a firewall closes the port"
        )

    @property
    def process(self) -> Lasting:
        """Its process."""
        return server_process(Path(self.folder))

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.alive

    def check(self) -> None:
        """Raise ServerError if the process has ended."""
        if not self.alive:
            raise ServerError(f"{self.title} has ended; the log is {self.log}")

    def memory_bytes(self) -> int | None:
        """Return the resident memory of the process in bytes; None if it is not running."""
        pid = self.process.pid
        return None if pid is None else resident_bytes(pid)

    def note(self) -> None:
        """Note that this is the server of the port, for later processes and for a supervisor."""
        folder = Path(self.folder).parent
        write_atomically(folder / NOTE, json.dumps(asdict(self)))
        write_atomically(folder / CURRENT, self.process.script.read_text(encoding="utf-8"))

    def stop(self) -> None:
        """End the server, and remove its folder."""
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


Started = ModelServer | Detached
"""A server that runs: it ends with this process, or it outlives it."""


def server_process(folder: Path) -> Lasting:
    """Return the process of the server of a folder, whose mark is its socket."""
    return Lasting(folder, "server", str(folder / SOCKET))


def stop_others(folder: Path, kept: Detached | None) -> bool:
    """End the servers of a port except one: a tuner that was killed may have left two.

    It returns whether any ran.
    """
    ran = False
    for other in folder.glob(f"{PREFIX}*/"):
        if kept is None or other.name != Path(kept.folder).name:
            ran |= server_process(other).alive
            server_process(other).stop()
            shutil.rmtree(other, ignore_errors=True)
    return ran


def noted_server(folder: Path) -> Detached | None:
    """Return the server that was noted last at a port, whether or not it runs."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return Detached(**json.loads((folder / NOTE).read_text(encoding="utf-8")))
    return None


def start_detached(
    model_path: str | os.PathLike[str],
    configuration: Configuration,
    folder: str | os.PathLike[str],
    *,
    executable: str | None = None,
    start_timeout_s: float = START_TIMEOUT_S,
    rest: bool = False,
    logs: str | os.PathLike[str] | None = None,
) -> Detached:
    """Start a server that outlives this process, and wait until it serves.

    Parameters
    ----------
    model_path : path
        The operator's own base path. The server follows its new versions.
    configuration : configuration
        See :class:`rrl.serving.launcher.ModelServer`.
    folder : path
        A folder that stays. The server gets a folder in it.
    executable, start_timeout_s, rest : optional
        See :class:`rrl.serving.launcher.ModelServer`.
    logs : path, optional
        A folder for the log. By default, it is in `folder`, but that of a start that fails is moved
        to the folder for temporary files.

    Returns
    -------
    Detached

    Raises
    ------
    UsageError
        If a setting or the time limit is not possible, or the folder's path is too long.
    DataError
        If the model has no version.
    ServerError
        If the server does not start. It is then stopped.

    Examples
    --------
    >>> left = start_detached(base, {"inter_op": 2}, "out/serving")  # doctest: +SKIP
    >>> print(left.address)  # doctest: +SKIP
    unix:/home/me/out/serving/server-k3_x8wq0/grpc.sock
    """
    base, folder = Path(os.path.abspath(model_path)), Path(folder).absolute()  # perhaps a link
    if not fits(folder / f"{PREFIX}xxxxxxxx" / SOCKET):
        raise UsageError(f"{folder}: this path is too long for a socket; choose a shorter folder")
    folder.mkdir(parents=True, exist_ok=True)
    own, name = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder)), base.resolve().name
    found, rest_port = find_executable(executable), free_port() if rest else None
    kind, process = kind_of(found), server_process(own)
    own_flags = server_flags(base, configuration, own, kind, rest_port)
    server = Detached(
        folder=str(own),
        model=str(base),
        name=name,
        configuration={name: plain(value) for name, value in configuration.items()},
        kind=kind,
        log=str(new_log(Path(logs or folder).absolute(), name)),
        rest_port=rest_port,
    )
    process.prepare([*prefix(configuration), *found, *own_flags])
    started = ServerProcess(
        ["/bin/sh", str(process.script)],
        server.address,
        name,
        log=Path(server.log),
        log_stays=bool(logs),
        tied=False,
        start_timeout_s=start_timeout_s,
    )
    _left.append(started.start())
    return server


# --- the service at a port ------------------------------------------------------------------------


def port_folder(port: int) -> Path:
    """Return the folder of the service at a port."""
    return own_folder("ports", str(port))


def lock_port(folder: Path, port: int) -> int:
    """Lock the folder of a port for this tuner, and return the descriptor of the lock."""
    try:
        lock = open_alone(folder / TUNER, _OPEN)
    except UsageError:
        raise UsageError(
            f"port {port}: another run tunes the service there; wait for it, or stop it with "
            f"`rrl stop {port}`"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def end_tuner(folder: Path, grace_s: float = 60.0) -> bool:
    """End the process that tunes the service of a folder; return whether there was one."""

    def free() -> bool:
        try:
            os.close(open_alone(folder / TUNER, _OPEN))
        except UsageError:
            return False
        return True

    for number in (signal.SIGTERM, signal.SIGKILL):
        if free():
            return number is signal.SIGKILL
        with suppress(OSError, ValueError):
            os.kill(int((folder / TUNER).read_text()), number)
        wait_until(free, grace_s)
    return True


def stop_service(folder: Path) -> bool:
    """End the service of a folder, and remove the folder; return whether any of it ran."""
    envoy = envoy_process(folder)
    ran = envoy.alive
    envoy.stop()
    ran |= stop_others(folder, None)
    shutil.rmtree(folder, ignore_errors=True)
    return ran
