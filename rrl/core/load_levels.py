"""Load levels: which loads count as one. Estimates of a load are noisy, and tables are few.

This is the one place that groups loads, for all agents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from rrl.core.agent import check_load


class LoadLevels:
    """The load levels met so far, numbered from 0, and the one that the load is at.

    A load belongs to the nearest load level. If it differs from that by more than a factor of
    `ratio`, it makes a new load level: at once if it differs by more than the square of the ratio,
    and otherwise only if the next load differs, too. So a single noisy estimate makes no new one.

    Parameters
    ----------
    ratio : float, optional
        Above 1. An estimate from 100 requests is off by about 10 %. With infinity, all loads are
        one load level.

    Attributes
    ----------
    log_loads : list of float
        Mean logarithm of the loads (requests per second) of each load level.
    current : int or None
        The load level of the last load.

    Raises
    ------
    ValueError
        If the ratio is not above 1.

    Examples
    --------
    >>> levels = LoadLevels()
    >>> for load in (10.0, 11.0, 15.0, 10.0, 15.0, 16.0, 40.0):
    ...     level = levels.enter(load)
    ...     levels.count()
    >>> [round(math.exp(x), 1) for x in levels.log_loads]  # 15 counts when it comes again
    [10.3, 16.0, 40.0]
    """

    def __init__(self, ratio: float = 1.35) -> None:
        if not ratio > 1:
            raise ValueError(f"the ratio of load levels must be above 1, got {ratio!r}")
        self.width = math.log(ratio)
        self.log_loads: list[float] = []
        self.current: int | None = None
        self._counts: list[int] = []  # loads that belong to each load level
        self._log_load = 0.0  # of the last load
        self._strange = False  # whether that was unlike all load levels

    def enter(self, load: float) -> int:
        """Return the number of the load level of a load (requests per second)."""
        self._log_load = math.log(check_load(load))
        near = self.nearest(self._log_load, range(len(self.log_loads)))
        away = math.inf if near is None else abs(self.log_loads[near] - self._log_load)
        again, self._strange = self._strange, away > self.width
        if near is None or (self._strange and (again or away > 2 * self.width)):
            self._strange, near = False, len(self.log_loads)
            self.log_loads.append(self._log_load)
            self._counts.append(0)
        self.current = near
        return near

    def count(self) -> None:
        """Let the last load count for the mean of its load level, unless it was strange."""
        if self.current is not None and not self._strange:
            self._counts[self.current] += 1
            away = self._log_load - self.log_loads[self.current]
            self.log_loads[self.current] += away / self._counts[self.current]

    def nearest(self, log_load: float, among: Iterable[int]) -> int | None:
        """Return the load level, among some, that is nearest to the logarithm of a load."""
        levels = list(among)
        if len(levels) < 2:  # as in most runs
            return levels[0] if levels else None
        return min(levels, key=lambda level: abs(self.log_loads[level] - log_load))

    def state(self) -> dict[str, Any]:
        """Return all of it, fit for JSON."""
        return {
            "log_loads": list(self.log_loads),
            "counts": list(self._counts),
            "current": self.current,
            "log_load": self._log_load,
            "strange": self._strange,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from such a state; KeyError or TypeError if it is incomplete."""
        log_loads, counts = list(state["log_loads"]), list(state["counts"])
        current, log_load, strange = state["current"], state["log_load"], state["strange"]
        if current is not None and not 0 <= current < len(log_loads) == len(counts):
            raise ValueError(f"load level {current} is not among the {len(log_loads)} saved")
        self.log_loads, self._counts, self.current = log_loads, counts, current
        self._log_load, self._strange = float(log_load), bool(strange)
