"""Q-learning agents for the comparison with RRL: a table and a deep network.

The table has one cell per configuration. Both agents explore epsilon-greedily.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace
from rrl.rivals.neighbours import Neighbours
from rrl.rivals.perceptron import Network
from rrl.rivals.search import SMALLEST_COST, Search, Searcher

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Epsilon:
    """Probability of a random choice; it halves every `half_life` episodes, down to `end`.

    Examples
    --------
    >>> [Epsilon(0.4, 0.1, half_life=10)(episode) for episode in (0, 10, 20, 500)]
    [0.4, 0.2, 0.1, 0.1]
    """

    start: float = 0.3
    end: float = 0.3
    half_life: float = 50

    def __post_init__(self) -> None:
        if not 0 <= self.end <= self.start <= 1 or not self.half_life > 0:
            raise ValueError(f"need 0 <= end <= start <= 1 and half_life > 0, got {self}")

    def __call__(self, episode: int) -> float:
        """Return the probability in an episode; episodes count from 0."""
        return max(self.end, self.start * 0.5 ** (episode // self.half_life))


class QLearning(Searcher):
    """Tabular Q-learning: a state is a load level, and an action is a configuration.

    The update is ``Q[c] = (1 - a) Q[c] + a cost`` with the learning rate a. Each measurement
    updates one cell, and there is no next state. This is RRL with a region of one cell. A cell
    starts with its first measurement. The first configuration of a load level is given, see
    :class:`Searcher`. Any other cell is measured for the first time only by a random action.

    Parameters
    ----------
    space, rng
    epsilon : sequence of float, optional
        The probability of a random action is an :class:`Epsilon`. These are its start, its end and
        its half-life in episodes.
    learning_rate : float, optional
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
        epsilon: Sequence[float] = (0.3, 0.3, 50),
        learning_rate: float = 0.3,
    ) -> None:
        super().__init__(space, rng)
        self.epsilon, self.learning_rate = Epsilon(*epsilon), learning_rate

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"start": start}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        table, measured = search.table, search.table.measured
        if not len(measured):
            return search.memory["start"]
        if self.rng.random() < self.epsilon(len(search.history)):
            return int(self.rng.integers(len(self.space)))
        return int(measured[table.values[measured].argmin()])

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        values = search.table.values
        old = cost if search.table.visits[index] == 1 else values.item(index)
        values[index] = old + self.learning_rate * (cost - old)


class DeepQNetwork(Searcher):
    """Deep Q-learning with experience replay; one network serves all loads, which are inputs.

    The task has two versions, both from the literature. With ``actions="moves"``, the state is the
    load and the present configuration. An action moves one knob by one step or changes nothing.
    Future costs are multiplied by `discount`, and a target network estimates them (Mnih et al.,
    with the states and actions of VCONF). With ``actions="configurations"``, the state is the load
    and an action is a configuration. An episode ends after one action. The network maps the load
    and the configuration to the cost, so it also generalises over actions. With
    configurations, a load level first serves its starting configuration (see :class:`Searcher`);
    with moves, the first move starts there. The target network has random weights of its own until
    it is first set to the network.

    Parameters
    ----------
    space, rng
    actions : {"configurations", "moves"}, optional
    epsilon : sequence of float, optional
        The probability of a random action is an :class:`Epsilon`. These are its start, its end and
        its half-life in episodes.
    hidden : sequence of int, optional
        These are the sizes of the hidden layers.
    learning_rate : float, optional
        This is that of Adam.
    updates, batch : int, optional
        Each episode makes `updates` training steps. Each step replays `batch` measurements.
    discount : float, optional
        The next state's value is multiplied by this number, from 0 to below 1. Only moves use it.
    sync : int, optional
        The target network is renewed every `sync` episodes. Only moves use it.

    References
    ----------
    Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015;
    Rao et al., "VCONF: A Reinforcement Learning Approach to Virtual Machines
    Auto-configuration", ICAC'09.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        actions: str = "configurations",
        epsilon: Sequence[float] = (0.3, 0.3, 50),
        hidden: Sequence[int] = (32, 32),
        learning_rate: float = 0.01,
        updates: int = 8,
        batch: int = 32,
        discount: float = 0.7,
        sync: int = 10,
    ) -> None:
        super().__init__(space, rng)
        if actions not in ("configurations", "moves"):
            raise ValueError(f"unknown actions {actions!r}: use 'configurations' or 'moves'")
        self.moves = Neighbours(space) if actions == "moves" else None
        self.epsilon, self.updates, self.batch = Epsilon(*epsilon), updates, batch
        self.discount, self.sync = discount, sync
        outputs = 1 if self.moves is None else 2 * len(space.knobs) + 1
        sizes = (1 + space.positions.shape[1], *hidden, outputs)
        self.network = Network(sizes, learning_rate, rng)
        self.target = Network(sizes, learning_rate, rng)
        self.replay: list[list[Any]] = []  # log load, from, action, log cost, to
        widths = np.maximum(np.ptp(space.positions, axis=0), 1e-9)
        self._features = 2 * (space.positions - space.positions.min(axis=0)) / widths - 1

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"at": start, "action": 0}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        memory, log_load = search.memory, search.table.log_load
        greedy = self.replay and self.rng.random() >= self.epsilon(len(search.history))
        if self.moves is None:
            if not search.history:
                return memory["at"]
            if not greedy:
                return int(self.rng.integers(len(self.space)))
            return int(
                self._values(search.table.log_load, np.arange(len(self.space)))[:, 0].argmin()
            )
        if greedy:
            memory["action"] = int(self._values(log_load, [memory["at"]])[0].argmin())
        else:
            memory["action"] = int(self.rng.integers(2 * len(self.space.knobs) + 1))
        return self._after(memory["at"], memory["action"])

    def _after(self, index: int, action: int) -> int:
        """Return where an action leads; the last action and moves off the grid stay."""
        knob, up = divmod(action, 2)
        if self.moves is None or knob == len(self.space.knobs):
            return index
        there = self.moves.step(index, knob, 2 * up - 1)
        return index if there is None else there

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        memory, log_cost = search.memory, math.log(max(cost, SMALLEST_COST))
        if self.moves is None or self._after(memory["at"], memory["action"]) == index:
            self.replay.append(
                [search.table.log_load, memory["at"], memory["action"], log_cost, index]
            )
        memory["at"] = index
        if not self.replay:
            return
        for _ in range(self.updates):
            drawn = self.rng.integers(len(self.replay), size=self.batch)
            self._train([self.replay[k] for k in drawn])
        if len(self.replay) % self.sync == 0:
            self.target.copy_from(self.network)

    def _train(self, transitions: list[list[Any]]) -> None:
        loads, starts, actions, costs, ends = (
            np.array(column) for column in zip(*transitions, strict=True)
        )
        targets = costs - self.replay[0][3]  # so that the first measurement counts as 0
        if self.moves is None:
            self.network.train(self._inputs(loads, ends), np.zeros_like(ends), targets)
            return
        future = self.target(self._inputs(loads, ends)).min(axis=1)
        targets = (1 - self.discount) * targets + self.discount * future
        self.network.train(self._inputs(loads, starts), actions, targets)

    def _inputs(self, log_loads: Any, indices: Any) -> Floats:
        inputs = np.empty((len(indices), 1 + self._features.shape[1]))
        inputs[:, 0] = log_loads - self.replay[0][0]
        inputs[:, 1:] = self._features[indices]
        return inputs

    def _values(self, log_load: float, indices: Any) -> Floats:
        return self.network(self._inputs(log_load, indices))
