"""The region similarity of the released code: a neural network, refitted after each episode."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.similarity import Estimate
from rrl.core.space import ConfigSpace


class NetworkSimilarity:
    """A network of 256 and 64 rectified units tells the region's costs from all seen so far.

    Its inputs are the mean time between requests and the knobs' positions. As in the released
    code it is fitted from scratch after every measurement, and all its estimates count in full,
    however far off. What differs: inputs and costs are standardised, the optimiser is Adam on the
    squared error (the release: FTRL with a rate of 0.7 on the Huber loss), the initial weights
    have a seed, an estimate is at least half the lowest cost seen (a table must not hold costs
    below 0), and the measured configuration keeps its measured cost.

    Parameters
    ----------
    hidden : tuple of int, optional
        Units of each hidden layer.
    rounds : int, optional
        Passes over the data of one fit.
    window : int, optional
        How many of the last measurements it is fitted to.
    seed : int, optional
        Of the initial weights and the order of the data.

    References
    ----------
    Released code of Qin et al., "Swift Machine Learning Model Serving Scheduling", SC'19.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> space = ConfigSpace([Knob("threads", (1, 2, 4, 8))])
    >>> network, ball = NetworkSimilarity(), np.arange(4)
    >>> for index, cost in enumerate((4.0, 3.0, 2.0)):
    ...     costs, weights = network.estimate(space, index, cost, ball, load=10.0)
    >>> bool(costs[0] > costs[1] > costs[2]), weights
    (True, array([1., 1., 1., 1.]))
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (256, 64),
        rounds: int = 100,
        window: int = 1000,
        seed: int = 0,
    ) -> None:
        if rounds < 1 or window < 1:
            raise ValueError(f"rounds and window must be at least 1, got {rounds} and {window}")
        self.hidden, self.rounds, self.window, self.seed = hidden, rounds, window, seed
        self._seen: list[list[float]] = []  # [index, load, cost]

    def estimate(
        self, space: ConfigSpace, index: int, cost: float, ball: NDArray[np.int64], load: float
    ) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`."""
        self._seen = [*self._seen, [int(index), float(load), float(cost)]][-self.window :]
        costs = np.where(ball == index, cost, self.predict(space, ball, load))
        return Estimate(costs, np.ones(len(ball)))

    def predict(self, space: ConfigSpace, indices: NDArray[np.int64], load: float) -> Any:
        """Fit the network to all that was seen and return the costs that it expects.

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

        where, loads, costs = np.array(self._seen).T
        x = _inputs(space, where.astype(int), loads)
        wanted = _inputs(space, indices, np.full(len(indices), load))
        centre, scale = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
        unit = costs.std() or 1.0
        network = MLPRegressor(
            hidden_layer_sizes=self.hidden,
            max_iter=self.rounds,
            learning_rate_init=0.01,
            random_state=self.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the number of rounds is a choice
            network.fit((x - centre) / scale, (costs - costs.mean()) / unit)
        found = network.predict((wanted - centre) / scale) * unit + costs.mean()
        return np.maximum(found, costs.min() / 2)

    def state(self) -> dict[str, Any]:
        """Return the measurements: the network follows from them."""
        return {"seen": [list(row) for row in self._seen]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state.

        Raises
        ------
        ValueError
            If it is incomplete.
        """
        if "seen" not in state:
            raise ValueError("the saved network holds no measurements: it needs 'seen'")
        self._seen = [[int(row[0]), row[1], row[2]] for row in state["seen"]]


def _inputs(
    space: ConfigSpace, indices: NDArray[np.int64], loads: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.column_stack([1 / loads, space.positions[indices]])
