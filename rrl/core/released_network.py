"""The region similarity of the released code: a neural network, refitted after each episode."""

from __future__ import annotations

import math
import warnings

import numpy as np

from rrl.core.qtable import Floats, Ints, QTable
from rrl.core.similarity import CONTRAST, CONTRAST_WEIGHT, Estimate, Similarity
from rrl.core.space import ConfigSpace

WINDOW = 1000  # the last measurements, which the network is fitted to


class NetworkSimilarity(Similarity):
    """A network of 256 and 64 rectified units learns the costs of a region from all measurements.

    Its inputs are the mean time between requests and the knobs' positions. As in the released
    code, the network is fitted from scratch after every measurement, and no estimate is weighted by
    its error. What differs: inputs and costs are standardised, the optimiser is Adam on the squared
    error (the release: FTRL with a rate of 0.7 on the Huber loss), the initial weights come from a
    fixed seed, an estimate is at least half the lowest measured cost (a table must not contain
    costs below 0), and the measured configuration keeps its measured cost.

    Parameters
    ----------
    hidden : tuple of int, optional
        Units of each hidden layer.
    rounds : int, optional
        Passes over the data of one fit.

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

    def __init__(self, hidden: tuple[int, ...] = (256, 64), rounds: int = 100) -> None:
        self.hidden, self.rounds = hidden, rounds
        self._measured: list[list[float]] = []  # [index, load, cost]
        self._errors = CONTRAST_WEIGHT * CONTRAST**2  # sum of squared errors of log costs
        self._count = CONTRAST_WEIGHT

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`.

        The sd comes from the network's past errors: how far its estimate was off when a
        configuration was measured for the first time.
        """
        load = math.exp(table.log_load)
        first = table.episodes > 1 and table.visits[index] == 1 and table.counts[index] > 0
        if first and cost > 0 and table.values[index] > 0:
            self._errors += math.log(cost / table.values[index]) ** 2
            self._count += 1
        self._measured = [*self._measured, [int(index), load, float(cost)]][-WINDOW:]
        costs, here = self.fitted(table.space, cells, load), cells == index
        sd = max(table.noise, math.sqrt(self._errors / self._count))
        return Estimate(np.where(here, cost, costs), np.where(here, table.noise, sd))

    def fitted(self, space: ConfigSpace, indices: Ints, load: float) -> Floats:
        """Fit the network to all measurements and return the costs that it expects.

        Parameters
        ----------
        space : ConfigSpace
        indices : ndarray of int, shape (m,)
        load : float
            Requests per second.

        Returns
        -------
        ndarray, shape (m,)
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        where, loads, costs = np.array(self._measured).T
        x = _inputs(space, where.astype(int), loads)
        wanted = _inputs(space, indices, np.full(len(indices), load))
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


def _inputs(space: ConfigSpace, indices: Ints, loads: Floats) -> Floats:
    return np.column_stack([1 / loads, space.positions[indices]])
