"""The service at a port: its folder, the server that is kept in it, and who tunes it.

The folder has the files of the Envoy, and a folder for each server that lasts. It stays when the
tuner ends, however that ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from rrl.serving.envoy import envoy_process
from rrl.serving.lasting import stop, wait_until
from rrl.serving.launcher import PREFIX, ModelServer, lasting_server
from rrl.support.errors import UsageError
from rrl.support.files import open_alone, write_atomically
from rrl.support.user_folder import user_folder

NOTE = "server.json"
CURRENT = "server.sh"  # for a supervisor
TUNER = "tuner.lock"  # with the number of the process that tunes
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


def port_folder(port: int) -> Path:
    """Return the folder of the service at a port."""
    return user_folder("ports", str(port))


def note_server(folder: Path, server: ModelServer) -> None:
    """Note which server is kept, for later processes and for a supervisor."""
    write_atomically(folder / NOTE, json.dumps(server.note()))
    script = lasting_server(server.folder).script
    write_atomically(folder / CURRENT, script.read_text(encoding="utf-8"))


def noted_server(folder: Path) -> ModelServer | None:
    """Return the server that was noted last at a port, whether or not it runs."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        return ModelServer.found(json.loads((folder / NOTE).read_text(encoding="utf-8")))
    return None


def stop_others(folder: Path, kept: ModelServer | None) -> bool:
    """End the servers of a port except one: a tuner that was killed may have left two.

    It returns whether any ran.
    """
    ran = False
    for other in folder.glob(f"{PREFIX}*/"):
        if kept is None or other.name != kept.folder.name:
            process = lasting_server(other)
            ran |= process.alive
            stop(process)
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


def end_tuner(folder: Path, grace_s: float = 60.0) -> bool:
    """End the process that tunes the service of a folder; return whether there was one.

    A tuner that still waits for answers of a server may need longer, and is killed then. Nothing is
    lost by that: finished episodes are in the journal, and whoever calls this ends the service
    next, which cuts off all open calls.

    Parameters
    ----------
    folder, grace_s : pathlib.Path, float
        The folder of the service, and the seconds until a tuner is killed.
    """

    def send(number: int) -> None:
        lock = folder / TUNER
        tuner = psutil.Process(int(lock.read_text()))
        # Another process may have the number of an earlier tuner, but has not opened the lock.
        with suppress(psutil.AccessDenied):  # the kernel hides the open files of some processes
            if str(lock.resolve()) not in [file.path for file in tuner.open_files()]:
                return
        tuner.send_signal(number)

    def free() -> bool:
        try:
            os.close(open_alone(folder / TUNER, _OPEN))
        except UsageError:
            return False
        except FileNotFoundError:  # it had not served yet, so it has removed the folder
            return True
        return True

    for number in (signal.SIGTERM, signal.SIGKILL):
        if free():
            return number is signal.SIGKILL
        with suppress(OSError, ValueError, psutil.Error):
            send(number)
        wait_until(free, grace_s)
    return True


def stop_service(folder: Path) -> bool:
    """End the service of a folder, and remove the folder; return whether any of it ran."""
    envoy = envoy_process(folder)
    ran = envoy.alive
    stop(envoy)
    ran |= stop_others(folder, None)
    shutil.rmtree(folder, ignore_errors=True)
    return ran
