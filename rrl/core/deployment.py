"""Deployment: which configuration should serve, given the table."""

from __future__ import annotations

import math

import numpy as np

from rrl.core.qtable import Floats, QTable

SURE = 2.0  # standard deviations above the expected cost, at the upper limit of a challenger


def expected_costs(table: QTable) -> tuple[Floats, Floats]:
    """Return the expected costs of the measured configurations, and their standard deviations.

    Two numbers say what a configuration costs: the value of the table, and the mean of its own
    measurements. The more precise one is taken. So copies from neighbours count no more once a
    configuration was measured often enough itself.

    Returns
    -------
    costs, deviations : ndarray, shape (m,)
        In the order of ``table.measured``. The deviations are shares of the costs.
    """
    cells = table.measured
    of_value, of_mean = table.deviations[cells], table.noise / np.sqrt(table.visits[cells])
    costs = np.where(of_value <= of_mean, table.values[cells], table.means[cells])
    return costs, np.minimum(of_value, of_mean)


def deploy(table: QTable) -> int:
    """Return the configuration to deploy: the incumbent, unless another one is clearly better.

    The challenger is the configuration whose upper limit is lowest: its expected cost plus
    `SURE` standard deviations. It replaces the incumbent if the incumbent's expected cost is higher
    by at least the standard deviation of the difference. So a lucky measurement changes nothing.

    Parameters
    ----------
    table : QTable
        It has at least one measurement.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2))]))
    >>> for index, cost in enumerate((1.0, 0.9)):
    ...     table.record(index, cost)
    >>> table.values[:], table.incumbent = (1.0, 0.9), 0
    >>> table.deviations[:] = 0.1
    >>> deploy(table)
    0
    >>> table.deviations[:] = 0.05
    >>> deploy(table)
    1
    """
    costs, deviations = expected_costs(table)
    best = int((costs * np.exp(SURE * deviations)).argmin())
    now = np.flatnonzero(table.measured == table.incumbent)  # empty if that was not measured here
    if len(now) and costs[best] > 0:
        gap = math.log(max(costs[now[0]], costs[best])) - math.log(costs[best])
        if gap < math.hypot(deviations[best], deviations[now[0]]):
            return int(table.measured[now[0]])
    return int(table.measured[best])
