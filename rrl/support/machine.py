"""The machine that measures: what it is, and one measurement at a time on it."""

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
"""Held by whoever measures; `flock` on the same file keeps other work off the cores meanwhile."""

PACKAGES = ("rrl", "tensorflow", "tensorflow-serving-api", "grpcio", "numpy")


def available_cpus() -> int:
    """CPUs this process may use: its affinity, and the cgroup's quota where there is one.

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
    """What to note beside a measurement: processor, memory, system and versions.

    Host and user names are left out on purpose: results are published.

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
    """Wait until nobody else measures on this machine, then hold it for the block."""
    try:
        file = os.open(LOCK, os.O_RDONLY)  # another user's will do
    except FileNotFoundError:
        file = os.open(LOCK, os.O_RDONLY | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)  # which lets go, as does the end of a killed process


@contextmanager
def one_thread() -> Iterator[None]:
    """Linear algebra in one thread for the block: sums in another order differ in a last digit.

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
