"""Region similarity: what one measurement says about other configurations.

A similarity returns, for each configuration of a region, an estimated cost and the standard
deviation (sd) of that estimate. So the table contains the values, and how sure each value is.

:class:`Copy` takes the measured cost for all of them. :class:`NetworkSimilarity` is that of the
released code: a network that is fitted again after each episode.
"""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple, Protocol

import numpy as np
from numba import njit

from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace, Floats, Ints

CONTRAST, CONTRAST_WEIGHT = 0.3, 4.0  # error expected at distance 1, and its weight in comparisons


class Estimate(NamedTuple):
    """Estimated costs, and their sds as fractions of them; shape (m,)."""

    costs: Floats
    sds: Floats


class Similarity(Protocol):
    """Interface of similarities."""

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """Return what a measurement means for the region `cells`, and learn from it.

        The agent calls it once for each measurement, in order.

        Parameters
        ----------
        table : QTable
            The measurement is recorded in it; the values are still those from before.
        index : int
            Index of the measured configuration.
        cost : float
            Its cost.
        cells : ndarray of int, shape (m,)
            Indices of the region's configurations. `index` is among them.

        Returns
        -------
        Estimate
        """
        ...


class Copy(Similarity):
    """All configurations of the region cost what was measured.

    The measurements also tell how wrong that is. Whenever two measured configurations lie in one
    region, the squared difference between the logarithms of their costs is compared with their
    distance. The variance of a copy is ``noise**2 + rate * distance``, where the rate is the sum of
    the squared differences divided by the sum of the distances.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("inter_op", (1, 2, 3))]))
    >>> table.record(1, 0.5)
    >>> estimate = Copy().estimate(table, 1, 0.5, np.arange(3))
    >>> estimate.costs, estimate.sds.round(2)
    (array([0.5, 0.5, 0.5]), array([0.34, 0.15, 0.34]))
    """

    def __init__(self) -> None:
        # Sums of squared differences between logarithms of costs, and of distances:
        self._sums = np.array([CONTRAST_WEIGHT * CONTRAST**2, CONTRAST_WEIGHT])

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """Copy the cost to all `cells`, see :class:`Similarity`."""
        measured = table.visits, table.means, table.noise
        sds = _compare(self._sums, table.space.positions, index, cost, cells, *measured)
        return Estimate(np.full(len(cells), float(cost)), sds)


@njit(cache=True)
def _compare(
    sums: Floats,
    positions: Floats,
    index: int,
    cost: float,
    cells: Ints,
    visits: Ints,
    means: Floats,
    noise: float,
) -> Floats:
    """Compare a measurement with the measured configurations of its region; return all sds.

    The comparisons are added to the two `sums` of a :class:`Copy`.
    """
    distances = np.empty(len(cells))
    for j in range(len(cells)):
        c, squared = cells[j], 0.0
        for k in range(positions.shape[1]):
            squared += (positions[c, k] - positions[index, k]) ** 2
        distances[j] = math.sqrt(squared)
        if squared > 0 and visits[c] > 0 and means[c] > 0 and cost > 0:
            sums[0] += (math.log(cost) - math.log(means[c])) ** 2
            sums[1] += distances[j]
    return np.sqrt(noise**2 + sums[0] / sums[1] * distances)


class NetworkSimilarity(Similarity):
    """A network of 256 and 64 rectified units learns the costs of a region from all measurements.

    Its inputs are the mean time between requests at the estimated load and the knobs' positions. As
    in the released code, the network is fitted from scratch after every measurement, and no
    estimate is weighted by its error. What differs: inputs and costs are standardised, the
    optimiser is Adam on the squared error (the release: FTRL with a rate of 0.7 on the Huber loss),
    the initial weights come from a fixed seed, an estimate is at least half the lowest measured
    cost (a table must not contain costs below 0), and the measured configuration keeps its measured
    cost.

    References
    ----------
    Released code of Qin et al., "Swift Machine Learning Model Serving Scheduling", SC'19.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table, network = QTable(ConfigSpace([Knob("threads", (1, 2, 4, 8))])), NetworkSimilarity()
    >>> for index, cost in enumerate((4.0, 3.0, 2.0)):
    ...     table.record(index, cost)
    ...     estimate = network.estimate(table, index, cost, np.arange(4))
    >>> bool(estimate.costs[0] > estimate.costs[1] > estimate.costs[2])
    True
    """

    hidden: tuple[int, ...] = (256, 64)  # units of each hidden layer
    rounds = 100  # passes over the data of one fit
    window = 1000  # the last measurements, which it is fitted to

    def __init__(self) -> None:
        self._measured: list[list[float]] = []  # [index, load, cost]
        self._errors = CONTRAST_WEIGHT * CONTRAST**2  # sum of squared errors of log costs
        self._count = CONTRAST_WEIGHT

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """Fit the network, and return what it expects of `cells`, see :class:`Similarity`.

        The sd comes from the network's past errors: how far its estimate was off when a
        configuration was measured for the first time.
        """
        load = math.exp(table.last_log_load)
        first = table.episodes > 1 and table.visits[index] == 1 and table.counts[index] > 0
        if first and cost > 0 and table.values[index] > 0:
            self._errors += math.log(cost / table.values[index]) ** 2
            self._count += 1
        self._measured = [*self._measured, [int(index), load, float(cost)]][-self.window :]
        costs, here = self._predict_by_network(table.space, cells, load), cells == index
        sd = max(table.noise, math.sqrt(self._errors / self._count))
        return Estimate(np.where(here, cost, costs), np.where(here, table.noise, sd))

    def _predict_by_network(self, space: ConfigSpace, cells: Ints, load: float) -> Floats:
        """Fit the network; return the costs that it expects under a load (requests per second)."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        measured, loads, costs = np.array(self._measured).T
        indices = np.append(measured.astype(int), cells)
        intervals = 1 / np.append(loads, np.full(len(cells), load))
        inputs = np.column_stack([intervals, space.positions[indices]])
        x, wanted = inputs[: len(costs)], inputs[len(costs) :]
        centre, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        unit = costs.std() or 1.0
        network = MLPRegressor(
            hidden_layer_sizes=self.hidden,
            max_iter=self.rounds,
            learning_rate_init=0.01,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of rounds is a choice
            network.fit((x - centre) / scale, (costs - costs.mean()) / unit)
        found = network.predict((wanted - centre) / scale) * unit + costs.mean()
        return np.maximum(found, costs.min() / 2)
