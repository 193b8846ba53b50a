"""Whether the machine was itself: a short piece of fixed work before and after each episode.

The work has nothing to do with what is measured, and the server stands still meanwhile. So an
episode is never judged by its own latency: only by how fast this work was, by the time that the
hypervisor took away, and by the load generator's own lateness.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIDE, PRODUCTS = 512, 10  # arithmetic: products of square matrices of 4-byte numbers
LENGTH, SUMS = 2**21, 6  # memory: sums over 16 MiB, which leave the caches


@dataclass(frozen=True)
class Rule:
    """When an episode counts.

    Parameters
    ----------
    reference_s : float
        Seconds that the probe took on the machine that the plan was made for.
    slowest, fastest : float
        Limits of the probe's speed, `reference_s` over its seconds, before and after an episode.
    steal : float
        Most of the processor time of an episode that the hypervisor may take, as a share.

    Examples
    --------
    >>> rule = Rule(reference_s=0.03)
    >>> rule.objection(0.03, 0.031, steal=0.0, valid=True)
    ''
    >>> rule.objection(0.03, 0.05, steal=0.0, valid=True)
    'probe'
    """

    reference_s: float
    slowest: float = 0.85
    fastest: float = 1.2
    steal: float = 0.05

    def speed(self, seconds: float) -> float:
        """How fast the machine was when the probe took so many seconds; 1 is the reference."""
        return self.reference_s / seconds

    def accepts(self, seconds: float) -> bool:
        """Whether the probe's speed is within the limits."""
        return self.slowest <= self.speed(seconds) <= self.fastest

    def objection(self, before_s: float, after_s: float, steal: float, valid: bool) -> str:
        """Why an episode does not count: probe, steal or slip; empty if it does.

        Parameters
        ----------
        before_s, after_s : float
            Seconds that the probe took before and after it.
        steal : float
            Share of the processor time that the hypervisor took meanwhile.
        valid : bool
            Whether the load generator sent on time.
        """
        if not (self.accepts(before_s) and self.accepts(after_s)):
            return "probe"
        if steal > self.steal:
            return "steal"
        return "" if valid else "slip"


class Probe:
    """The fixed work: each core multiplies matrices and reads memory, all cores at once."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self._cores = sorted(os.sched_getaffinity(0))
        self._workers = ThreadPoolExecutor(len(self._cores), thread_name_prefix="rrl-probe")
        self._libraries = ThreadpoolController()
        rng = np.random.default_rng(0)
        self._matrices = [rng.random((SIDE, SIDE), dtype=np.float32) for _ in self._cores]
        self._products = [np.empty_like(matrix) for matrix in self._matrices]
        self._memory = [rng.random(LENGTH) for _ in self._cores]
        for _ in range(3):  # the first are slower: memory is new, clocks are low
            self()

    def __call__(self) -> float:
        """Seconds that the slowest core took."""
        with self._libraries.limit(limits=1):
            return max(self._workers.map(self._work, range(len(self._cores))))

    def _work(self, worker: int) -> float:
        os.sched_setaffinity(0, {self._cores[worker]})  # this thread alone
        matrix, product = self._matrices[worker], self._products[worker]
        began = time.perf_counter()
        for _ in range(PRODUCTS):
            np.matmul(matrix, matrix, out=product)
        for _ in range(SUMS):
            self._memory[worker].sum()
        return time.perf_counter() - began


def calibrated(probe: Callable[[], float], looks: int = 30, pause_s: float = 0.1) -> float:
    """Median of some looks (s): the reference of a rule for this machine as it is now.

    Examples
    --------
    >>> calibrated(lambda: 0.03, looks=3, pause_s=0.0)
    0.03
    """
    seconds = []
    for _ in range(looks):
        seconds.append(probe())
        time.sleep(pause_s)
    return round(float(np.median(seconds)), 5)


def processor_ticks() -> tuple[int, int]:
    """Stolen and all ticks of processor time since the machine started, over all cores."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return int(fields[7]), sum(map(int, fields))


def stolen(before: tuple[int, int], after: tuple[int, int]) -> float:
    """Share of the processor time between two looks that the hypervisor took.

    Examples
    --------
    >>> stolen((10, 1000), (15, 1100))
    0.05
    """
    return (after[0] - before[0]) / max(after[1] - before[1], 1)
