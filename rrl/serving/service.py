"""The service at a port: its folder, the server that is kept in it, and who tunes it.

The folder has the files of the Envoy, and a folder for each server that lasts. It stays when the
tuner ends, however that ends. A tuner that comes later needs to know no more of a server than that
it runs: it starts one of its own, and ends the others.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from rrl.serving.envoy import ENVOY
from rrl.serving.lasting import Lasting, Process
from rrl.serving.launcher import PREFIX, SERVER, ModelServer
from rrl.support.errors import UsageError
from rrl.support.files import open_alone
from rrl.support.folders import user_folder

CURRENT = "server.sh"  # for a supervisor: a link to the script of the server that is kept
TUNER = "tuner.pid"  # with the number of the process that tunes
END_TUNER_S = 60.0  # until a tuner is killed
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


def port_folder(port: int) -> Path:
    """Return the folder of the service at a port."""
    return user_folder("ports", str(port))


def set_current(folder: Path, server: ModelServer) -> None:
    """Let a supervisor start this server, which is the one that is kept."""
    (link := folder / f".{CURRENT}").unlink(missing_ok=True)
    link.symlink_to(server.folder / CURRENT)
    link.replace(folder / CURRENT)


def other_servers(folder: Path, kept: ModelServer | None) -> list[Path]:
    """Return the folders of the servers of a port except one."""
    return [one for one in folder.glob(f"{PREFIX}*/") if not kept or one.name != kept.folder.name]


def server_runs(folder: Path) -> bool:
    """Return whether a server of a port runs."""
    return any(Lasting(one, SERVER).alive for one in other_servers(folder, None))


def stop_others(folder: Path, kept: ModelServer | None) -> bool:
    """End the servers of a port except one; return whether any ran."""
    ran = False
    for other in other_servers(folder, kept):
        ran |= Lasting(other, SERVER).stop()
        shutil.rmtree(other, ignore_errors=True)
    return ran


def lock_port(folder: Path, port: int) -> int:
    """Lock the folder of a port for this tuner, and return the descriptor of the lock."""
    try:
        lock = open_alone(folder / TUNER, _OPEN)
    except UsageError:
        raise UsageError(
            f"port {port}: another run tunes the service there; wait for it, or stop it with "
            f"`rrl stop {port}`"
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:  # a full disk may have room for the name of a file only
        unlock_port(folder, lock)
        raise OSError(error.errno, error.strerror, str(folder / TUNER)) from None
    return lock


def unlock_port(folder: Path, lock: int) -> None:
    """Let another run tune the service of a folder; a folder without a service is removed."""
    with suppress(OSError):  # somebody may have removed it
        if os.listdir(folder) == [TUNER]:
            shutil.rmtree(folder)
    os.close(lock)


def end_tuner(folder: Path) -> bool:
    """End the process that tunes the service of a folder; return whether there was one.

    A tuner that still waits for answers of a server may need longer, and is killed then. Nothing is
    lost by that: finished episodes are in the journal, and whoever calls this ends the service
    next, which cuts off all open calls.
    """
    return Process(folder / TUNER, alone=True).stop(END_TUNER_S)


def stop_service(folder: Path) -> bool:
    """End the service of a folder, and remove the folder; return whether any of it ran."""
    ran = Lasting(folder, ENVOY).stop()
    ran |= stop_others(folder, None)
    shutil.rmtree(folder, ignore_errors=True)
    return ran
