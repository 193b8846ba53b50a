"""Region-similarity estimation: what one measurement says about other configurations.

A similarity returns, for each configuration of a region, an estimated cost and the standard
deviation of that estimate. So the table has not only values, but also how sure each value is.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit

from rrl.core.qtable import Floats, Ints, QTable

CONTRAST, CONTRAST_WEIGHT = 0.3, 4.0  # expected error at distance 1, worth so many comparisons


class Estimate(NamedTuple):
    """Estimated costs, and their standard deviations as shares of them; shape (m,)."""

    costs: Floats
    deviations: Floats


class Similarity(Protocol):
    """Whatever can estimate the costs of a region from a measurement."""

    def enter(self, table: QTable, cells: Ints) -> Estimate | None:
        """Say what is known when the load comes to the load level of `table`.

        Parameters
        ----------
        table : QTable
            The table of the load level; ``table.near`` is that of the nearest other one.
        cells : ndarray of int, shape (m,)
            Numbers of the configurations that may be tried.

        Returns
        -------
        Estimate or None
            The values of `cells`. None if the table stays as it is.
        """
        ...

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate | None:
        """Say what a measurement means for the region `cells`.

        It is called once for each measurement, in order, so a similarity that learns does so here.

        Parameters
        ----------
        table : QTable
            The measurement is recorded in it; the values are still those from before.
        index : int
            Number of the measured configuration.
        cost : float
            Its cost.
        cells : ndarray of int, shape (m,)
            Numbers of the region's configurations. `index` is among them, unless the region has
            dropped the measurement from the table.

        Returns
        -------
        Estimate or None
            The values of `cells`. None if the table stays as it is.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return what was learned, fit for JSON."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from such a state; KeyError if it is incomplete."""
        ...


def inherit(table: QTable) -> None:
    """Let a new table start from the values of the nearest other load level, if there is one."""
    if not table.episodes and table.near is not None:
        table.inherit(table.near)


class Copy:
    """All configurations of the region cost what was measured.

    The measurements also tell how wrong that is. Whenever two measured configurations lie in one
    region, the squared difference between the logarithms of their costs is compared with their
    distance. So the variance of a copy grows in proportion to the distance, as fast as costs do.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("inter_op", (1, 2, 3))]))
    >>> table.record(1, 0.5)
    >>> estimate = Copy().estimate(table, 1, 0.5, np.arange(3))
    >>> estimate.costs, estimate.deviations.round(2)
    (array([0.5, 0.5, 0.5]), array([0.34, 0.15, 0.34]))
    """

    def __init__(self) -> None:
        self._contrast = CONTRAST_WEIGHT * CONTRAST**2  # sum of squared differences of logarithms
        self._distance = CONTRAST_WEIGHT  # sum of distances

    def enter(self, table: QTable, cells: Ints) -> None:
        """See :meth:`Similarity.enter`."""
        inherit(table)

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate | None:
        """See :meth:`Similarity.estimate`; a measurement that the region dropped is not copied."""
        if not table.visits[index]:
            return None
        costs, deviations = np.empty((2, len(cells)))
        costs.fill(cost)
        self._contrast, self._distance = contrasts(
            table.space.positions, index, cost, cells, table.visits, table.means,
            (self._contrast, self._distance, table.noise), deviations,
        )  # fmt: skip
        return Estimate(costs, deviations)

    def state(self) -> dict[str, Any]:
        """See :meth:`Similarity.state`."""
        return {"contrast": self._contrast, "distance": self._distance}

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`Similarity.restore`."""
        self._contrast, self._distance = float(state["contrast"]), float(state["distance"])


@njit(cache=True)
def contrasts(
    positions: Floats,
    index: int,
    cost: float,
    cells: Ints,
    visits: Ints,
    means: Floats,
    sums: tuple[float, float, float],
    deviations: Floats,
) -> tuple[float, float]:
    """Compare a measurement with the measured configurations of its region.

    `sums` has the squared differences between logarithms of costs so far, the distances, and the
    noise of a measurement. The deviations of all `cells` are written into `deviations`.

    Returns
    -------
    contrast, distance : float
        The first two sums, with the comparisons of this measurement.
    """
    contrast, distance, noise = sums
    log_cost = math.log(cost) if cost > 0 else 0.0
    for j in range(len(cells)):
        c, squared = cells[j], 0.0
        for k in range(positions.shape[1]):
            squared += (positions[c, k] - positions[index, k]) ** 2
        deviations[j] = math.sqrt(squared)  # the distance, at first
        if squared > 0 and visits[c] > 0 and means[c] > 0 and cost > 0:
            contrast += (log_cost - math.log(means[c])) ** 2
            distance += deviations[j]
    for j in range(len(cells)):
        deviations[j] = math.sqrt(noise**2 + contrast / distance * deviations[j])
    return contrast, distance
