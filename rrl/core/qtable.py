"""The region Q-table: what each configuration is expected to cost, and how sure that is.

:func:`update_region` is the update that gives the method its name. :class:`QTable` holds the
arrays of one load level, and :class:`Tables` says which loads share one. Costs are at least 0, and
lower is better. As in the code released with the paper, an episode is one step and there is no next
state: Q[c] is the expected cost of an episode with configuration c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats, Ints

NOISE, NOISE_WEIGHT = 0.15, 4.0  # noise expected before any repeat, and its weight in repeats


@njit(cache=True)
def update_region(
    values: Floats,
    sds: Floats,
    counts: Floats,
    cells: Ints,
    costs: Floats,
    cost_sds: Floats,
    learning_rate: float,
    average: bool,
) -> None:
    """Move the values of one region towards their estimates, in place.

    For each configuration c of the region, ``Q[c] = (1 - g) Q[c] + g estimate[c]``. In the
    released code, g is the learning rate. With `average`, g is at least 1 / n for the n-th
    estimate of c, so Q[c] is the mean of its estimates as long as 1 / n exceeds the learning rate.
    The first standard deviation (sd) replaces infinity, and later ones are mixed in the same way:
    the errors of copies from one neighbour are alike, so they do not cancel.

    Parameters
    ----------
    values, sds, counts : ndarray, shape (n,)
        Q, the sd of each value as a fraction of the value, and the number of its estimates.
    cells : ndarray of int, shape (m,)
        Indices of the region's configurations.
    costs, cost_sds : ndarray, shape (m,)
        The estimates, and their sds as fractions.
    learning_rate : float
        Above 0 and at most 1.
    average : bool
        Whether values are means until the learning rate takes over.

    References
    ----------
    Released code of "Swift Machine Learning Model Serving Scheduling", SC'19.

    Examples
    --------
    >>> values, sds, counts = np.full(4, 9.0), np.full(4, np.inf), np.zeros(4)
    >>> region, costs, cost_sds = np.array([1, 2]), np.full(2, 5.0), np.full(2, 0.1)
    >>> update_region(values, sds, counts, region, costs, cost_sds, 0.25, False)
    >>> values
    array([9., 8., 8., 9.])
    """
    for j in range(len(cells)):
        c = cells[j]
        counts[c] += 1
        g = max(learning_rate, 1 / counts[c]) if average else learning_rate
        values[c] = (1 - g) * values[c] + g * costs[j]
        mixes = g < 1 and sds[c] < np.inf
        sds[c] = (1 - g) * sds[c] + g * cost_sds[j] if mixes else cost_sds[j]


class QTable:
    """The region Q-table of one load level.

    Parameters
    ----------
    space : ConfigSpace
    level : int, optional
        Number of the load level.
    log_load : float, optional
        Mean logarithm of the load level's loads, in requests per second.
    tables : sequence of QTable, optional
        The tables of all load levels.

    Attributes
    ----------
    last_log_load : float
        Logarithm of the last load, at which the next measurement is recorded.
    outlier : bool
        Whether the last load is far from all load levels. An outlier does not count for `log_load`.
    values, sds : ndarray, shape (n,)
        The expected cost of each configuration, and the sd of that value as a fraction of it. The
        first measurement sets all values, with an infinite sd, unless another load level has some.
    counts : ndarray, shape (n,)
        Number of estimates of each value. A value from another load level counts for at most two.
    visits, means : ndarray, shape (n,)
        How often a configuration was measured, and its mean cost.
    measured : ndarray of int, shape (m,)
        Indices of the measured configurations, in the order of their first measurement.
    episodes : int
        Number of measurements.
    scatter : float
        Sum of the squared deviations of all repeated measurements from their means, as fractions of
        the means.
    noise : float
        Coefficient of variation of one measurement, from the repeats. A similarity that learns the
        noise replaces it.
    incumbent : int or None
        The configuration to deploy.
    last_region : ndarray of int
        The region that was updated last.
    floor : float
        About 1 % of the lowest cost above 0. If it is added to each cost, a cost of 0 has a
        logarithm, too.

    Examples
    --------
    >>> from rrl import Knob
    >>> table, region = QTable(ConfigSpace([Knob("threads", (1, 2, 4))])), np.array([1, 2])
    >>> for index, cost in ((1, 3.0), (2, 1.0)):
    ...     table.record(index, cost)
    ...     table.update(region, np.full(2, cost), np.full(2, 0.15), 0.3)
    >>> table.values, table.measured
    (array([3., 2., 2.]), array([1, 2]))
    """

    def __init__(
        self,
        space: ConfigSpace,
        level: int = 0,
        log_load: float = 0.0,
        tables: Sequence[QTable] = (),
    ) -> None:
        size = len(space)
        self.space, self.level, self.tables = space, level, tables
        self.log_load, self._loads = log_load, 0  # a mean, and the number of its loads
        self.last_log_load, self.outlier = log_load, False
        self.values, self.sds = np.zeros(size), np.full(size, np.inf)
        self.counts = np.zeros(size)
        self._inherited = np.zeros(size, dtype=np.bool_)  # values that are still another level's
        self._scaled = 0  # measurements that have set the scale of inherited values
        self.visits, self.means = np.zeros(size, dtype=np.int64), np.zeros(size)
        self._squares = np.zeros(size)  # sums of squared deviations from the means
        self.episodes, self.floor = 0, 0.0
        self.incumbent: int | None = None
        self.last_region, self.measured = np.empty((2, 0), dtype=np.int64)
        self.scatter, self.noise = 0.0, NOISE

    @property
    def near(self) -> QTable | None:
        """The table of the nearest other load level with measurements; None if there is none."""
        others = [table for table in self.tables if table.episodes and table.level != self.level]
        return _nearest(others, self.log_load)

    def record(self, index: int, cost: float) -> None:
        """Take in the cost that was measured at `index`; :meth:`update` then moves the values."""
        if not self.episodes:
            self._begin(cost)
        if not self.outlier:
            self._loads += 1
            self.log_load += (self.last_log_load - self.log_load) / self._loads
        if cost > 0 and (self.floor == 0 or 0.01 * cost < self.floor / 2):
            self.floor = 0.01 * cost  # a cost less than half of the lowest one lowers it
        if self._inherited[index] and self.counts[index] > 0 and self._scaled < 8:
            self._rescale(index, cost)
        if not self.visits[index]:
            self.measured = np.append(self.measured, index)
        self.episodes += 1
        visits = self.visits.item(index)  # plain numbers are faster than NumPy's
        mean, squares = self.means.item(index), self._squares.item(index)
        self.scatter -= _relative(mean, squares)
        difference = cost - mean
        mean += difference / (visits + 1)
        squares += difference * (cost - mean)
        self.visits[index], self.means[index], self._squares[index] = visits + 1, mean, squares
        self.scatter += _relative(mean, squares)
        repeats = self.episodes - len(self.measured)
        scatter = self.scatter + NOISE_WEIGHT * NOISE**2
        self.noise = math.sqrt(scatter / (repeats + NOISE_WEIGHT))

    def update(
        self, cells: Ints, costs: Floats, sds: Floats, learning_rate: float, average: bool = True
    ) -> None:
        """Move the values of a region towards their estimates, see :func:`update_region`."""
        table = self.values, self.sds, self.counts
        update_region(*table, cells, costs, sds, learning_rate, average)
        self._inherited[cells] = False
        self.last_region = cells

    def _begin(self, cost: float) -> None:
        """Start from the values of the nearest other load level, or from the first cost.

        After values of another level, the first eight measurements of such values tell by what
        factor all costs differ. Only values that no own region has touched are scaled by it.
        """
        other = self.near
        if other is None:
            self.values[:] = cost
            return
        self.values[:], self.floor = other.values, other.floor
        np.maximum(other.sds, other.noise / 2**0.5, out=self.sds)
        np.minimum(other.counts, 2, out=self.counts)
        self._inherited[:] = True

    def _rescale(self, index: int, cost: float) -> None:
        """Multiply inherited values by the mean ratio of the first costs to what was expected."""
        self._scaled += 1
        floor = self.floor or 1.0  # without a floor, all costs are 0
        ratio = (cost + floor) / (self.values[index] + floor)
        self.values[self._inherited] *= ratio ** (1 / self._scaled)  # a running geometric mean


def _relative(mean: float, squares: float) -> float:
    """The squared deviations of one configuration's costs, as fractions of their mean."""
    return squares / mean / mean if mean > 0 else 0.0


class Tables(list[QTable]):
    """One table per load level, a group of loads that are treated as one.

    Estimates of a load are noisy, and each load level has to learn from its own episodes. So there
    should be few load levels. All agents group loads with this class.

    A load belongs to the nearest load level. It is an outlier if it differs from that level by more
    than a factor of `ratio`. An outlier begins a new load level if the factor is above the square
    of `ratio`, or if the load before it was an outlier, too, and began none. So a single noisy
    estimate begins no new level.

    Parameters
    ----------
    space : ConfigSpace
    ratio : float, optional
        Above 1. An estimate from 100 requests is off by about 10 %. With infinity, all loads
        belong to one load level.

    Raises
    ------
    ValueError
        If the ratio is not above 1.

    Examples
    --------
    >>> from rrl import Knob
    >>> tables = Tables(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> for load in (10.0, 11.0, 15.0, 10.0, 15.0, 16.0, 40.0):
    ...     tables.at(load).record(index=0, cost=1.0)
    >>> [round(math.exp(table.log_load), 1) for table in tables]  # 15 counts when it comes again
    [10.3, 16.0, 40.0]
    """

    def __init__(self, space: ConfigSpace, ratio: float = 1.35) -> None:
        super().__init__()
        if not ratio > 1:
            raise ValueError(f"the ratio of load levels must be above 1, got {ratio!r}")
        self.space, self.width = space, math.log(ratio)
        self._current: QTable | None = None  # of the last load

    def at(self, load: float) -> QTable:
        """Return the table of a load (requests per second), which is empty if it begins a level."""
        log_load = _log(load)
        table = _nearest(self, log_load)
        distance = math.inf if table is None else abs(table.log_load - log_load)
        again = self._current is not None and self._current.outlier
        outlier = distance > self.width
        if table is None or (outlier and (again or distance > 2 * self.width)):
            table, outlier = QTable(self.space, len(self), log_load, self), False
            self.append(table)
        table.last_log_load, table.outlier = log_load, outlier
        self._current = table
        return table

    def checked(self, configuration: Configuration, cost: float) -> tuple[QTable, int, float]:
        """Check what an agent is told; return the last load's table, the index and the cost.

        A cost below 1e-30 is returned as 0. So ratios of costs, and their squares, are finite.

        Raises
        ------
        ValueError
            If there was no load yet, the cost is no number from 0 to 1e30, or the configuration is
            not in the space.
        """
        if self._current is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        number = float(cost)  # in half precision, 1e30 is infinite
        if not 0 <= number <= 1e30:
            raise ValueError(f"a cost must be a number from 0 to 1e+30, got {cost!r}")
        number = number if number >= 1e-30 else 0.0
        return self._current, self.space.index(configuration), number

    def nearest(self, load: float) -> QTable | None:
        """Return the table with measurements whose load level is nearest; None if there is none."""
        measured = [table for table in self if table.episodes]
        return _nearest(measured, _log(load))

    def deployed(self, load: float) -> int:
        """Return the configuration to deploy: the incumbent of the nearest load level.

        Raises
        ------
        ValueError
            If nothing has been told yet, or the load is not a positive number.
        """
        table = self.nearest(load)
        if table is None or table.incumbent is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return table.incumbent


def _log(load: float) -> float:
    """Return the logarithm of a load (requests per second) if that is a positive number."""
    if not 0 < load < math.inf:
        raise ValueError(f"load must be a positive number of requests per second, got {load!r}")
    return math.log(load)


def _nearest(tables: list[QTable], log_load: float) -> QTable | None:
    return min(tables, key=lambda table: abs(table.log_load - log_load), default=None)
