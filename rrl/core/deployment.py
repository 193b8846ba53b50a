"""Deployment: which configuration should serve, given the table."""

from __future__ import annotations

import math

from numba import njit

from rrl.core.qtable import Floats, Ints, QTable

SURE = 2.0  # standard deviations above the expected cost, at the upper limit of a challenger


def deploy(table: QTable) -> int:
    """Return the configuration to deploy: the incumbent, unless another one is clearly better.

    The challenger is the configuration whose upper limit is lowest: its expected cost plus
    `SURE` standard deviations. It replaces the incumbent if the incumbent's expected cost is higher
    by at least the standard deviation of the difference. So a lucky measurement changes nothing.
    Only measured configurations are deployed, see :func:`expected_cost`.

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
    now = table.incumbent
    known = now is not None and table.visits[now] > 0
    columns = table.values, table.deviations, table.means, table.visits
    return int(_chosen(*columns, table.measured, table.noise, now if known else -1))


@njit(cache=True)
def expected_cost(
    value: float, deviation: float, mean: float, visits: int, noise: float
) -> tuple[float, float]:
    """Return the expected cost of a measured configuration, and its standard deviation as a share.

    Two numbers say what a configuration costs: the value of the table, and the mean of its own
    measurements, each with the given `noise`. The more precise one is taken. So copies from
    neighbours count no more once a configuration was measured often enough itself.

    Examples
    --------
    >>> expected_cost(1.0, 0.05, 1.2, visits=4, noise=0.2)
    (1.0, 0.05)
    >>> expected_cost(1.0, 0.15, 1.2, visits=4, noise=0.2)
    (1.2, 0.1)
    """
    of_mean = noise / math.sqrt(visits)
    return (value, deviation) if deviation <= of_mean else (mean, of_mean)


@njit(cache=True)
def _chosen(
    values: Floats,
    deviations: Floats,
    means: Floats,
    visits: Ints,
    measured: Ints,
    noise: float,
    now: int,
) -> int:
    best, lowest = measured[0], math.inf
    for c in measured:
        if values[c] >= lowest and means[c] >= lowest:
            continue  # its limit is no lower, and need not be computed
        cost, spread = expected_cost(values[c], deviations[c], means[c], visits[c], noise)
        limit = cost * math.exp(SURE * spread)
        if limit < lowest:
            best, lowest = c, limit
    if now < 0:
        return best
    lower, one = expected_cost(values[best], deviations[best], means[best], visits[best], noise)
    higher, other = expected_cost(values[now], deviations[now], means[now], visits[now], noise)
    if lower <= 0:  # nothing is better than a cost of 0, and a tie changes nothing
        return now if higher <= 0 else best
    gap = math.log(max(higher, lower)) - math.log(lower)
    return now if gap < math.hypot(one, other) else best
