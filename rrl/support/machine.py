"""The machine that measures: its description, and what else it does meanwhile.

Runs of this package keep out of each other's way. Work of others makes all configurations slower
for a while, and an agent may take that for an effect of the configuration. So a run says how often
it was disturbed, and a recording measures such an episode again.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from rrl.support.folders import user_folder
from rrl.support.provenance import installed

LOCK = "machine.lock"
"""In the user's own folder, a process locks this file while it measures; `flock` on the file makes
other work wait."""

POLL_S, TURN_S = 0.02, 0.05  # how often one looks for its turn, and the pause that lets it find it

BUSY = 0.2  # fraction of the processors' time; less work of others hardly changes a latency

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
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


# --- what else it does ----------------------------------------------------------------------------


class OtherWork:
    """Measure the work of others on the processors that this process may use.

    The own work is that of this process, of all that it started, and of the processes that
    `ours` names. What the hypervisor took counts as the work of others.

    Parameters
    ----------
    ours : callable, optional
        It returns the numbers of further processes that belong to the run, such as the server.

    Examples
    --------
    >>> others = OtherWork()
    >>> 0 <= others.look() <= 1
    True
    """

    def __init__(self, ours: Callable[[], Iterable[int]] = tuple) -> None:
        self._ours, self._told = ours, False
        self.start()

    def start(self) -> None:
        """Count the work of others from now on."""
        self._before = self._now()

    def look(self) -> float:
        """Return the fraction of the processors' time since the start that others used.

        The first time that it is above `BUSY`, a line says so.
        """
        seconds, busy, own = (
            now - then for now, then in zip(self._now(), self._before, strict=True)
        )
        fraction = min(max(busy - own, 0.0) / max(seconds, 1e-3), 1.0)
        if fraction > BUSY and not self._told:
            self._told = True
            logging.getLogger("rrl").info(
                f"the machine is busy: other processes use {fraction:.0%} of its processor time, "
                "which disturbs the measurement"
            )
        return round(fraction, 3)

    def _now(self) -> tuple[float, float, float]:
        """Return seconds of processors, of work on them, and of our own work, since some start."""
        cpus = os.sched_getaffinity(0)
        used = [one for n, one in enumerate(psutil.cpu_times(percpu=True)) if n in cpus]
        busy = sum(t.user + t.nice + t.system + t.irq + t.softirq + t.steal for t in used)
        return time.monotonic() * len(cpus), busy, self._own()

    def _own(self) -> float:
        """Return the seconds of work of all our processes, also of those that have ended."""
        mine = psutil.Process()
        found = {mine.pid: mine}
        for number in (None, *self._ours()):
            with suppress(psutil.Error):
                root = mine if number is None else psutil.Process(number)
                found |= {one.pid: one for one in (root, *root.children(recursive=True))}
        total = 0.0
        for process in found.values():
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])  # with those of children that have ended
        return total


def busy_line(records: Iterable[dict[str, Any]]) -> str:
    """Say how often others disturbed a run; "" if they did not.

    Examples
    --------
    >>> busy_line([{"other_work": 0.5}, {"other_work": 0.01}, {}])
    'busy machine: other processes used more than 20 % of its processors in 1 of 2 measurements, \
at most 50 %; measure again when it is idle'
    """
    shares = [record["other_work"] for record in records if "other_work" in record]
    busy = [one for one in shares if one > BUSY]
    if not busy:
        return ""
    return (
        f"busy machine: other processes used more than {100 * BUSY:.0f} % of its processors in "
        f"{len(busy)} of {len(shares)} measurements, at most {100 * max(busy):.0f} %; "
        "measure again when it is idle"
    )
