"""The machine that measures: its description, and how runs on it keep out of each other's way."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from rrl.support.own_folder import open_own, own_folder

LOCK = "machine.lock"
"""In the user's own folder, a process locks this file while it measures; `flock` on the file makes
other work wait."""

POLL_S, TURN_S = 0.02, 0.05  # how often one looks for its turn, and the pause that lets it find it
RUN = "machine.run-{}"  # beside it: the files that runs lock which measure all the time
ASKS = "machine.asks"  # and the file that a process locks while it asks who measures

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
        "versions": {name: _version(name) for name in PACKAGES},
    }


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process measures on this machine, then hold the lock for the block."""
    with _open(own_folder() / LOCK) as file:
        lock_descriptor(file, poll_interval=POLL_S)
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
    ...     another_run() is None
    False
    """
    with ExitStack() as stack:
        with _asking():
            warning = _running() or _disturbance(own_folder() / LOCK)
            for number in count():
                file = stack.enter_context(_open(own_folder() / RUN.format(number)))
                if lock_descriptor(file, blocking=False):
                    break
        yield warning


def another_run() -> str | None:
    """Return one line about a run that measures all the time on this machine; None without one.

    Recordings take turns with each other by :func:`exclusive`. They cannot do that with such a run,
    so they must not begin.
    """
    with _asking():
        return _running()


def _running() -> str | None:
    found = map(_disturbance, sorted(own_folder().glob(RUN.format("*"))))
    return next(filter(None, found), None)


@contextmanager
def _asking() -> Iterator[None]:
    """Let one process ask at a time, because the question itself locks a file for a moment."""
    with _open(own_folder() / ASKS) as file:
        lock_descriptor(file, poll_interval=POLL_S)
        yield


def _disturbance(lock: Path) -> str | None:
    """Say in one line that somebody holds a lock; None if nobody does."""
    with _open(lock) as file:
        if lock_descriptor(file, blocking=False):
            return None
    process = _holder(lock)
    who = f" (process {process})" if process else ""
    return (
        f"another rrl run measures on this machine{who}: wait for it, or the measurements disturb "
        "each other"
    )


def _holder(lock: Path) -> str | None:
    """Return the number of a process that holds a lock, if the system tells."""
    try:
        lines, file = Path("/proc/locks").read_text().splitlines(), lock.stat()
    except OSError:
        return None
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    # such as "1: FLOCK ADVISORY WRITE 4711 fe:00:12345 0 EOF"; one that waits has "1: -> FLOCK ..."
    held = (words for words in map(str.split, lines) if words[1] == "FLOCK")
    return next((words[4] for words in held if words[5] == place), None)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    """Open a file that is locked, which is made if it is missing; closing it ends the lock.

    The end of a process, however it ends, closes the file, too.
    """
    file = open_own(path)
    try:
        yield file
    finally:
        os.close(file)


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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
