"""Exploration: which configuration of the table serves next.

:class:`Boltzmann` is the paper's: a configuration with a low value is likely, and the temperature
says how likely.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit

from rrl.core.qtable import QTable
from rrl.core.space import Floats, Ints


class Exploration(Protocol):
    """Interface of exploration rules."""

    def choose(self, table: QTable, cells: Ints, rng: np.random.Generator) -> int:
        """Return the index of a configuration of `cells`."""
        ...


@dataclass(frozen=True)
class Boltzmann:
    """Draw from :func:`action_probabilities` with a temperature that falls.

    The temperature halves every `half_life` episodes, down to `end`.

    Parameters
    ----------
    start, end : float, optional
        Above 0, with ``start >= end``; see :func:`action_probabilities`.
    half_life : int, optional
        Number of episodes, at least 1.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from rrl import Knob, ConfigSpace
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> table.values[:], table.floor = (4.0, 1.0, 2.0), 0.01
    >>> Boltzmann().choose(table, np.arange(3), np.random.default_rng(1))
    1
    """

    start: float = 0.02
    end: float = 0.002
    half_life: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start < math.inf or self.half_life < 1:
            raise ValueError(f"need 0 < end <= start and half_life >= 1, got {self}")

    def temperature(self, episode: int) -> float:
        """Return the temperature of an episode; episodes count from 0.

        Examples
        --------
        >>> [Boltzmann(0.04, 0.01, half_life=10).temperature(t) for t in (0, 9, 10, 20, 500)]
        [0.04, 0.04, 0.02, 0.01, 0.01]
        """
        return max(self.end, self.start * 0.5 ** (episode // self.half_life))

    def choose(self, table: QTable, cells: Ints, rng: np.random.Generator) -> int:
        """Draw one random number, and return the index of a configuration of `cells`."""
        temperature = self.temperature(table.episodes)
        return int(cells[_draw(table.values[cells], temperature, table.floor, rng.random())])


@njit(cache=True)
def action_probabilities(values: Floats, temperature: float, floor: float = 0.0) -> Floats:
    """Return Boltzmann probabilities on the logarithm of the cost: p is proportional to Q^(-1/T).

    A cost that is twice as high is 2^(1/T) times less likely, so the unit of the cost does not
    matter. (The released code's exp(k/Q) depends on the unit. It loops forever at Q = 0, and fails
    below 0.)

    Parameters
    ----------
    values : ndarray, shape (n,)
        Expected costs, at least 0.
    temperature : float
        Above 0. At 0.01 a cost 1 % above the lowest is e times less likely.
    floor : float, optional
        Added to every cost. It is needed only if costs can be 0.

    Returns
    -------
    ndarray, shape (n,)
        The sum is 1.

    Examples
    --------
    >>> action_probabilities(np.array([1.0, 2.0, 4.0]), temperature=1.0).round(3)
    array([0.571, 0.286, 0.143])
    >>> action_probabilities(np.array([0.0, 0.0]), temperature=0.01)
    array([0.5, 0.5])
    """
    shifted = values + floor
    lowest = shifted.min()
    if lowest > 0:
        weights = np.exp(-np.log(shifted / lowest) / temperature)
    else:  # nothing is cheaper than a cost of 0
        weights = np.where(shifted == 0, 1.0, 0.0)
    return weights / weights.sum()


@njit(cache=True)
def _draw(values: Floats, temperature: float, floor: float, uniform: float) -> int:
    """Return the index at which the distribution function exceeds a random number from 0 to 1.

    A configuration that is e^60 times less likely than the best is never drawn. So most logarithms
    of a large table are saved.
    """
    costs = values + floor
    near = np.flatnonzero(costs <= costs.min() * np.exp(min(60.0 * temperature, 700.0)))
    running = np.cumsum(action_probabilities(values[near], temperature, floor))
    return int(near[np.searchsorted(running[:-1], uniform * running[-1], side="right")])
