"""What every agent is: the protocol, the checks of what it is told, and the load levels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace


class Agent(Protocol):
    """An agent sees costs and load estimates, and nothing else. It chooses configurations.

    All random choices come from the generator that the agent was made with. So a run that is
    replayed gives the same agent.
    """

    def ask(self, load: float) -> Configuration:
        """Choose the configuration of the next episode.

        `load` is in requests per second, estimated from arrivals so far. ValueError if it is not
        a positive number.
        """
        ...

    def tell(self, configuration: Configuration, cost: float) -> None:
        """Learn what an episode cost under the load that was last asked for.

        ValueError, and nothing learned, if the cost is negative, NaN or infinite, the
        configuration is not in the space, or nothing was asked before.
        """
        ...

    def best(self, load: float) -> Configuration:
        """Return the configuration to deploy under `load`. The agent does not change."""
        ...


HIGHEST = 1e150  # the square of a cost must be finite, and sums of such squares
MakeAgent = Callable[[ConfigSpace, np.random.Generator], Agent]


def check_load(load: float) -> float:
    """Return the load, in requests per second, if it is a positive number.

    Examples
    --------
    >>> check_load(14)
    14.0
    """
    if not 0 < load < math.inf:
        raise ValueError(f"load must be a positive number of requests per second, got {load!r}")
    return float(load)


def check_cost(cost: float) -> float:
    """Return the cost if it is a number that is at least 0, and not too large to be squared.

    Examples
    --------
    >>> check_cost(0)
    0.0
    """
    if not 0 <= cost < math.inf:
        raise ValueError(f"a cost must be a finite number that is at least 0, got {cost!r}")
    if cost > HIGHEST:
        raise ValueError(f"a cost must be at most {HIGHEST:g}, got {cost!r}; use another unit")
    return float(cost)


class LoadLevels:
    """The load levels that were met so far: groups of loads that are treated as one.

    Estimates of a load are noisy, and each load level has to learn from its own episodes. So there
    should be few. All agents group loads with this class.

    A load belongs to the nearest load level. A load that differs from the nearest one by more than
    a factor of `ratio` begins a new load level: at once if the factor is above the square of the
    ratio, and otherwise only if the next load also differs by more than `ratio` from every load
    level, in either direction. Until then, the load belongs to the nearest load level. So a single
    noisy estimate begins no new one.

    Parameters
    ----------
    ratio : float, optional
        Above 1. An estimate from 100 requests is off by about 10 %. With infinity, all loads
        belong to one load level.

    Attributes
    ----------
    log_loads : list of float
        The mean logarithm of the loads (requests per second) of each load level.
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
        self._outlier = False  # whether the last load is far from all load levels

    def enter(self, load: float) -> int:
        """Return the number of the load level of a load (requests per second)."""
        self._log_load = math.log(check_load(load))
        away = [abs(log_load - self._log_load) for log_load in self.log_loads]
        distance = min(away, default=math.inf)
        again, self._outlier = self._outlier, distance > self.width
        if not away or (self._outlier and (again or distance > 2 * self.width)):
            self._outlier, self.current = False, len(self.log_loads)
            self.log_loads.append(self._log_load)
            self._counts.append(0)
        else:
            self.current = away.index(distance)
        return self.current

    def count(self) -> None:
        """Let the last load count for the mean of its load level, unless it is an outlier."""
        if self.current is not None and not self._outlier:
            self._counts[self.current] += 1
            difference = self._log_load - self.log_loads[self.current]
            self.log_loads[self.current] += difference / self._counts[self.current]
