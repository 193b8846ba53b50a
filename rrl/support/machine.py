"""The machine that measures: its description, and a lock for one measurement at a time."""

from __future__ import annotations

import fcntl
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LOCK = Path(tempfile.gettempdir()) / "rrl-machine.lock"
"""A process locks this file while it measures; `flock` on the file makes other work wait."""

PACKAGES = ("rrl", "tensorflow", "tensorflow-serving-api", "grpcio", "numpy")


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


def describe_machine() -> dict[str, Any]:
    """Return what to record with a measurement: processor, memory, system and versions.

    Host and user names are left out on purpose, because results are published.

    Examples
    --------
    >>> sorted(describe_machine())
    ['cpus', 'load_average', 'memory_gib', 'processor', 'python', 'system', 'versions']
    """
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cpus": available_cpus(),
        "memory_gib": round(pages / 2**30, 1),
        "load_average": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
    }


@contextmanager
def exclusive() -> Iterator[None]:
    """Wait until no other process measures on this machine, then hold the lock for the block."""
    try:
        file = os.open(LOCK, os.O_RDONLY)  # the file may belong to another user
    except FileNotFoundError:
        file = os.open(LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)  # this releases the lock; the end of a killed process also does


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
