"""The folder of a service at a port: it has all that outlives a tuner, and says who tunes it."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from rrl.serving.detached import stop_others
from rrl.serving.envoy import envoy_process
from rrl.serving.lasting import wait_until
from rrl.support.errors import UsageError
from rrl.support.one_writer import open_alone
from rrl.support.own_folder import own_folder

TUNER = "tuner.lock"  # with the number of the process that tunes
_OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW


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
