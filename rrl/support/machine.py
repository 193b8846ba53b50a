"""The machine that measures: its description, and how runs on it keep out of each other's way."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from rrl.support.provenance import installed
from rrl.support.user_folder import user_folder

LOCK = "machine.lock"
"""In the user's own folder, a process locks this file while it measures; `flock` on the file makes
other work wait."""

POLL_S, TURN_S = 0.02, 0.05  # how often one looks for its turn, and the pause that lets it find it

PACKAGES = ("region-rl", "tensorflow", "tensorflow-serving-api", "grpcio", "numpy")


def available_cpus() -> int:
    """Return how many CPUs this process may use, by its affinity and the quota of its cgroup.

    Examples
    --------
    >>> available_cpus() >= 1
    True
    """
    from joblib import cpu_count  # here, because it takes long to load

    return int(cpu_count())


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
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": installed(PACKAGES),
    }


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process measures on this machine, then hold the lock for the block."""
    with FileLock(user_folder() / LOCK, poll_interval=POLL_S):
        yield
    time.sleep(TURN_S)


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
