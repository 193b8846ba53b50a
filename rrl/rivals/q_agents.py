"""Q-learning agents for the comparison with RRL: a table and a deep network.

The table has one cell per configuration. Both agents explore epsilon-greedily.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.rivals.grid import near
from rrl.rivals.search import Search, Searcher, log_cost

HIDDEN = (32, 32)  # units of the network's hidden layers
UPDATES, BATCH = 8, 32  # training steps after an episode, and measurements in each


def chance(episode: int, start: float, end: float, half_life: float) -> float:
    """Return the probability of a random action; it halves every `half_life` episodes, to `end`.

    Raises
    ------
    ValueError
        If the numbers are no probabilities that fall.

    Examples
    --------
    >>> [chance(episode, 0.4, 0.1, half_life=10) for episode in (0, 10, 20, 500)]
    [0.4, 0.2, 0.1, 0.1]
    """
    if not 0 <= end <= start <= 1 or not half_life > 0:
        raise ValueError(f"need 0 <= end <= start <= 1 and half_life > 0: {start, end, half_life}")
    return max(end, start * 0.5 ** (episode // half_life))


class QLearning(Searcher):
    """Tabular Q-learning: a state is a load level, and an action is a configuration.

    The update is ``Q[c] = (1 - a) Q[c] + a cost``. As in RRL, a is 1 / n for the n-th measurement
    of a cell until the learning rate is larger, so a value is a mean at first. Each measurement
    updates one cell, and there is no next state. The first configuration of a load level is given,
    see :class:`Searcher`. Any other cell is measured for the first time only by a random action.

    Parameters
    ----------
    space, rng, start
    epsilon : sequence of float
        The probability of a random action: its start, its end and its half-life in episodes, see
        :func:`chance`.
    learning_rate : float
        Above 0 and at most 1.

    References
    ----------
    Watkins & Dayan, "Q-learning", Machine Learning 8, 1992; epsilon-greedy: Sutton & Barto,
    *Reinforcement Learning*, section 2.2.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        epsilon: Sequence[float],
        learning_rate: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        chance(0, *epsilon)  # it checks the numbers
        self.epsilon, self.learning_rate = epsilon, learning_rate

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        table, measured = search.table, search.table.measured
        if not len(measured):
            return search.start
        greedy = int(measured[table.values[measured].argmin()])
        if self.rng.random() < chance(search.table.episodes, *self.epsilon):
            return self.explore(search, greedy)
        return greedy

    def explore(self, search: Search, greedy: int) -> int:
        """Return the index of a random action; `greedy` is the one of lowest value."""
        return int(self.rng.integers(len(self.space)))

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        values = search.table.values
        old = cost if search.table.visits[index] == 1 else values.item(index)
        rate = max(self.learning_rate, 1 / search.table.visits[index])
        values[index] = old + rate * (cost - old)


class NearQLearning(QLearning):
    """Q-learning whose random action is near its incumbent: a strong control for the region.

    It searches where a region agent searches, and copies nothing. The random action is a
    configuration near the one of lowest value (:func:`rrl.rivals.grid.near`): one that was not
    measured if there is one, else any.

    Parameters
    ----------
    space, rng, epsilon, learning_rate, start
        See :class:`QLearning`.
    radius : float
        How far from the incumbent a random action may be, in steps of a knob.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        epsilon: Sequence[float],
        learning_rate: float,
        radius: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, epsilon=epsilon, learning_rate=learning_rate, start=start)
        if not radius > 0:
            raise ValueError(f"radius must be above 0, got {radius!r}")
        self.radius = radius

    def explore(self, search: Search, greedy: int) -> int:
        """See :meth:`QLearning.explore`."""
        cells = near(self.space, greedy, self.radius)
        new = cells[search.table.visits[cells] == 0]
        cells = new if len(new) else cells
        return int(self.rng.choice(cells)) if len(cells) else greedy


class DeepQNetwork(Searcher):
    """Deep Q-learning with experience replay; one network serves all loads, which are inputs.

    The state is the load, an action is a configuration, and an episode ends after one action. The
    network maps the load and the configuration to the cost, so it also generalises over actions. A
    load level first serves its starting configuration, see :class:`Searcher`.

    Parameters
    ----------
    space, rng, start
    epsilon : sequence of float
        The probability of a random action: its start, its end and its half-life in episodes, see
        :func:`chance`.
    learning_rate : float
        This is that of Adam.

    References
    ----------
    Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        epsilon: Sequence[float],
        learning_rate: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        chance(0, *epsilon)  # it checks the numbers
        self.epsilon = epsilon
        sizes = (1 + space.positions.shape[1], *HIDDEN, 1)
        self.network = Network(sizes, learning_rate, rng)
        Network(sizes, learning_rate, rng)  # the runs that are stored also drew a second one
        self.replay: list[tuple[float, int, float]] = []  # log load, configuration, log cost
        widths = np.maximum(np.ptp(space.positions, axis=0), 1e-9)
        self._features = 2 * (space.positions - space.positions.min(axis=0)) / widths - 1

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        greedy = self.replay and self.rng.random() >= chance(search.table.episodes, *self.epsilon)
        if not search.table.episodes:
            return search.start
        if not greedy:
            return int(self.rng.integers(len(self.space)))
        everywhere = np.arange(len(self.space))
        return int(self.network(self._inputs(search.table.log_load, everywhere)).argmin())

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        self.replay.append((search.table.log_load, index, log_cost(cost)))
        for _ in range(UPDATES):
            drawn = self.rng.integers(len(self.replay), size=BATCH)
            loads, indices, costs = map(
                np.array, zip(*(self.replay[k] for k in drawn), strict=True)
            )
            targets = costs - self.replay[0][2]  # so that the first measurement counts as 0
            self.network.train(self._inputs(loads, indices), targets)

    def _inputs(self, log_loads: Any, indices: Any) -> Floats:
        inputs = np.empty((len(indices), 1 + self._features.shape[1]))
        inputs[:, 0] = log_loads - self.replay[0][0]
        inputs[:, 1:] = self._features[indices]
        return inputs


class Network:
    """A multi-layer perceptron with ReLU and one output; Adam trains it with the Huber loss.

    Parameters
    ----------
    sizes : sequence of int
        These are the sizes of the input, the hidden layers and the output, which is 1.
    learning_rate : float
        Above 0.
    rng : numpy.random.Generator
        It draws the first weights (He et al., ICCV'15).

    References
    ----------
    Kingma & Ba, "Adam: A Method for Stochastic Optimization", ICLR'15.
    """

    def __init__(
        self, sizes: Sequence[int], learning_rate: float, rng: np.random.Generator
    ) -> None:
        self.learning_rate, self.steps = learning_rate, 0
        shapes = [shape for pair in pairwise(sizes) for shape in (pair, pair[1:])]
        self.weights = [np.zeros(shape) for shape in shapes]
        for k, fan_in in enumerate(sizes[:-1]):
            layer = self.weights[2 * k]
            layer[:] = math.sqrt(2 / fan_in) * rng.standard_normal(layer.shape)
        self._means = [np.zeros(shape) for shape in shapes]
        self._squares = [np.zeros(shape) for shape in shapes]

    def __call__(self, inputs: Floats) -> Floats:
        """Return outputs of shape (n,) for inputs of shape (n, inputs)."""
        return self._layers(inputs)[-1][:, 0]

    def _layers(self, inputs: Floats) -> list[Floats]:
        layers = [inputs]
        for k in range(0, len(self.weights), 2):
            out = layers[-1] @ self.weights[k] + self.weights[k + 1]
            layers.append(np.maximum(out, 0) if k + 2 < len(self.weights) else out)
        return layers

    def train(self, inputs: Floats, targets: Floats) -> None:
        """Take one step that moves the outputs towards the targets, shape (n,)."""
        layers = self._layers(inputs)
        delta = np.clip(layers[-1] - targets[:, None], -1, 1) / len(inputs)
        gradients: list[Floats] = []
        for k in range(len(self.weights) - 2, -1, -2):
            below = layers[k // 2]
            gradients[:0] = [below.T @ delta, delta.sum(axis=0)]
            if k:
                delta = (delta @ self.weights[k].T) * (below > 0)
        self.steps += 1
        pace = self.learning_rate * math.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        adam = zip(self.weights, self._means, self._squares, gradients, strict=True)
        for weights, mean, square, gradient in adam:
            mean += 0.1 * (gradient - mean)
            square += 0.001 * (gradient**2 - square)
            weights -= pace * mean / (np.sqrt(square) + 1e-8)
