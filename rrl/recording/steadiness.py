"""Whether the machine was steady: its speed, and what the hypervisor took.

A short fixed task is timed before and after each episode. The task does not depend on what is
measured, and the server is paused while it runs. An episode is
rejected because of the speed of this task, the time that the hypervisor took, or the load
generator's own delay. No limit is on a latency. But the generator may delay requests by a tenth of
the mean latency, so the same delay is sooner too long for a fast configuration.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from rrl.support.errors import UnstableError

SIDE, PRODUCTS = 512, 10  # arithmetic: products of square matrices of 4-byte numbers
LENGTH, SUMS = 2**21, 6  # memory: sums over 16 MiB, which are too large for the core's own caches
PATIENCE_S = 900.0  # longest time outside the rule's limits before the recording stops
PAUSE_S = 2.0  # time between two probes while waiting
LOOKS, BETWEEN_S = 30, 0.1  # probes for a reference, and the time between two of them
QUIET_S = 10.0  # the recording says that it waits if it does so for longer


@dataclass(frozen=True)
class Rule:
    """The rule for which episodes count.

    Parameters
    ----------
    reference_s : float
        Seconds that the probe took on the machine for which the plan was made.
    slowest, fastest : float
        Limits of the machine's speed before and after an episode. The speed is `reference_s`
        divided by the seconds of the probe.
    steal : float
        Largest fraction of an episode's processor time that the hypervisor may take.

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
        """Return the machine's speed if the probe took this many seconds; 1 is the reference."""
        return self.reference_s / seconds

    def accepts(self, seconds: float) -> bool:
        """Return whether the machine's speed is within the limits."""
        return self.slowest <= self.speed(seconds) <= self.fastest

    def objection(self, before_s: float, after_s: float, steal: float, valid: bool) -> str:
        """Return why an episode does not count ("probe", "steal" or "slip"); empty if it counts.

        Parameters
        ----------
        before_s, after_s : float
            Seconds that the probe took before and after the episode.
        steal : float
            Fraction of the processor time that the hypervisor took during the episode.
        valid : bool
            Whether the load generator sent on time.
        """
        if not (self.accepts(before_s) and self.accepts(after_s)):
            return "probe"
        if steal > self.steal:
            return "steal"
        return "" if valid else "slip"


class Probe:
    """The fixed task: all cores multiply matrices and read memory at the same time."""

    def __init__(self) -> None:
        from threadpoolctl import ThreadpoolController

        self._cores = sorted(os.sched_getaffinity(0))
        self._workers = ThreadPoolExecutor(len(self._cores), thread_name_prefix="rrl-probe")
        self._libraries = ThreadpoolController()
        rng = np.random.default_rng(0)
        self._matrices = [rng.random((SIDE, SIDE), dtype=np.float32) for _ in self._cores]
        self._products = [np.empty_like(matrix) for matrix in self._matrices]
        self._memory = [rng.random(LENGTH) for _ in self._cores]
        for _ in range(3):  # the first runs are slower: memory is new and clocks are low
            self()

    def __call__(self) -> float:
        """Return the seconds that the slowest core took."""
        with self._libraries.limit(limits=1):
            return max(self._workers.map(self._work, range(len(self._cores))))

    def _work(self, worker: int) -> float:
        os.sched_setaffinity(0, {self._cores[worker]})  # only for this thread
        matrix, product = self._matrices[worker], self._products[worker]
        began = time.perf_counter()
        for _ in range(PRODUCTS):
            np.matmul(matrix, matrix, out=product)
        for _ in range(SUMS):
            self._memory[worker].sum()
        return time.perf_counter() - began


class SteadyMachine:
    """The machine by its probe. The probe after an episode is also the one before the next.

    Whoever lets the machine work has to look again before the next episode.

    Parameters
    ----------
    rule : Rule
        The attribute of this name has no upper limit any more once the machine became faster.
    probe : callable
        It returns the seconds that a fixed task took.
    say : callable
        It is told in one line why the recording waits, or goes on with another speed.

    Examples
    --------
    >>> seconds = iter([0.03, 0.031])
    >>> machine = SteadyMachine(Rule(reference_s=0.03), lambda: next(seconds), print)
    >>> machine.look(), machine.wait(), machine.look()
    (0.03, 0.03, 0.031)
    """

    def __init__(self, rule: Rule, probe: Callable[[], float], say: Callable[[str], None]) -> None:
        self.rule, self._probe, self._say = rule, probe, say
        self._seconds = math.inf  # of the last probe

    def look(self) -> float:
        """Probe the machine and return the seconds."""
        self._seconds = self._probe()
        return self._seconds

    def wait(self) -> float:
        """Wait until the last probe is within the rule's limits, and return its seconds.

        A machine that stays faster than the rule allows has become idle since the reference was
        taken. Then the recording goes on without that limit; it stores the speed with each episode.

        Raises
        ------
        UnstableError
            If the machine stays too slow for `PATIENCE_S`.
        """
        began, told = time.monotonic(), False
        while not self.rule.accepts(self._seconds):
            rule, waited_s = self.rule, time.monotonic() - began
            speed = rule.speed(self._seconds)
            if waited_s > QUIET_S and speed > rule.fastest:
                self.rule = replace(rule, fastest=math.inf)
                self._say(
                    f"the machine has become {speed:.2f} times as fast as at the start, when "
                    "something else may have run: the recording goes on, and each episode has its "
                    "speed"
                )
                break
            if waited_s > QUIET_S and not told:
                told = True
                self._say(
                    f"waiting: the machine runs at {speed:.2f} of the plan's speed, and "
                    f"{rule.slowest:g} to {rule.fastest:g} count; something else may run"
                )
            if waited_s > PATIENCE_S:
                raise UnstableError(
                    f"for {PATIENCE_S:.0f} s the machine's speed was outside the limits; it is "
                    f"{speed:.2f} of the plan's speed; try again when it is less busy, or make a "
                    "plan for this machine"
                )
            time.sleep(PAUSE_S)
            self.look()
        return self._seconds


def calibrated(probe: Callable[[], float]) -> float:
    """Return the median of several probes (s), as the reference of a rule for this machine.

    Examples
    --------
    >>> calibrated(lambda: 0.03)
    0.03
    """
    seconds = []
    for _ in range(LOOKS):
        seconds.append(probe())
        time.sleep(BETWEEN_S)
    return round(float(np.median(seconds)), 5)
