"""The paper's agent on one screen, in plain NumPy: the first rung of a ladder to the method.

A server can run with many configurations. In each episode one of them serves, and the episode has a
cost, such as its mean latency. The agent keeps a table of values: what an episode with each
configuration is expected to cost. It draws a configuration, and a low value makes this likely. Then
the values of a whole *region* move towards the cost, and not only the value of what was measured.

The next rung is :class:`rrl.core.rrl.RRL`. As long as the load stays, it makes the same choices. It
also has load levels, and a rule for which configuration to deploy.

>>> positions = np.argwhere(np.ones((8, 8)))  # two knobs with eight values each
>>> agent, costs = RegionAgent(positions, np.random.default_rng(1)), []
>>> for _ in range(100):
...     chosen = agent.ask()
...     costs.append(1.0 + 0.1 * ((positions[chosen] - 5) ** 2).sum())
...     agent.tell(chosen, costs[-1])
>>> print(f"{np.mean(costs[:5]):.1f}, then {np.mean(costs[-5:]):.1f}")  # 1 is the lowest
1.7, then 1.1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class RegionAgent:
    """Region-based reinforcement learning at one load."""

    positions: np.ndarray  # a row per configuration: the place of each knob's value in its order
    rng: np.random.Generator
    radius: float = 1.0  # of a region, in steps of a knob
    learning_rate: float = 0.03  # the part of the way to the cost that a value moves
    temperatures: tuple[float, float, int] = (0.02, 0.002, 50)  # first, last, episodes to halve it

    def __post_init__(self) -> None:
        self.values, self.updates = np.zeros((2, len(self.positions)))
        self.episodes, self.floor = 0, 1e30

    def ask(self) -> int:
        """Draw a configuration; at temperature T, twice the value is 2^(1/T) times less likely."""
        first, last, half_life = self.temperatures
        temperature = max(last, first * 0.5 ** (self.episodes // half_life))
        costs = self.values + self.floor  # a value of 0 has a power, too
        weights = (costs / costs.min()) ** (-1 / temperature)
        return int(self.rng.choice(len(weights), p=weights / weights.sum()))

    def tell(self, chosen: int, cost: float) -> None:
        """Move the values of the region around `chosen` towards the cost."""
        if self.episodes == 0:
            self.values[:] = cost  # nothing else is known of any configuration
        if 0 < cost < 50 * self.floor:
            self.floor = 0.01 * cost  # little beside any cost
        region = np.linalg.norm(self.positions - self.positions[chosen], axis=1) <= self.radius
        self.updates[region] += 1
        rate = np.maximum(self.learning_rate, 1 / self.updates[region])  # at first, a mean
        self.values[region] += rate * (cost - self.values[region])
        self.episodes += 1
