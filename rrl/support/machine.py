"""The machine that measures: its description, and how runs on it keep out of each other's way."""

from __future__ import annotations

import fcntl
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from rrl.support.own_folder import own_folder
from rrl.support.provenance import versions

LOCK = "machine.lock"
"""In the user's own folder, a process locks this file while it measures; `flock` on the file makes
other work wait."""

POLL_S, TURN_S = 0.02, 0.05  # how often one looks for its turn, and the pause that lets it find it
RUN = "machine.run"  # beside it: a file that all runs lock together which measure all the time
_DISTURBANCE = "on this machine: wait for it, or the measurements disturb each other"

PACKAGES = ("region-rl", "tensorflow", "tensorflow-serving-api", "grpcio", "numpy")


def available_cpus() -> int:
    """Return how many CPUs this process may use, by its affinity and the quota of its cgroup.

    Examples
    --------
    >>> available_cpus() >= 1
    True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else max(1, min(cpus, int(quota) // int(period)))
    except (OSError, ValueError):
        return cpus


def memory_bytes() -> int:
    """Return the memory of this machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def describe_machine() -> dict[str, Any]:
    """Return what to record with a measurement: processor, memory, system and versions.

    Host and user names are left out on purpose, because results are published.

    Examples
    --------
    >>> sorted(describe_machine())
    ['cpus', 'load_average', 'memory_gib', 'processor', 'python', 'system', 'versions']
    """
    return {
        "processor": _processor(),
        "cpus": available_cpus(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
    }


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process measures on this machine, then hold the lock for the block."""
    with FileLock(own_folder() / LOCK, poll_interval=POLL_S):
        yield
    time.sleep(TURN_S)


@contextmanager
def announced() -> Iterator[str | None]:
    """Announce a run that measures all the time, for the block; give a warning, or None.

    Such a run does not take turns by :func:`exclusive`, because it serves while it measures.

    Yields
    ------
    str or None
        One line if another run measures on this machine now, in turns or all the time.

    Examples
    --------
    >>> with announced():
    ...     another_run()
    'another rrl run measures on this machine: wait for it, or the measurements disturb each other'
    """
    recording = f"a recording measures {_DISTURBANCE}" if _held(LOCK) else None
    warning, file = another_run() or recording, _open(RUN)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)  # several runs share it
        yield warning
    finally:
        os.close(file)


def another_run() -> str | None:
    """Return one line about a run that measures all the time on this machine; None without one.

    Recordings take turns with each other by :func:`exclusive`. They cannot do that with such a run,
    so they must not begin.
    """
    return f"another rrl run measures {_DISTURBANCE}" if _held(RUN) else None


def _held(name: str) -> bool:
    """Return whether a process holds a lock; its end, however it ends, releases it."""
    file = _open(name)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _open(name: str) -> int:
    return os.open(own_folder() / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the linear algebra of the block in one thread.

    Several threads add numbers in another order, so the last digit of a sum can differ.

    Examples
    --------
    >>> import numpy as np
    >>> with one_thread():
    ...     float(np.linalg.norm([3.0, 4.0]))
    5.0
    """
    import scipy.linalg  # noqa: F401  (only libraries that are loaded can be limited)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
