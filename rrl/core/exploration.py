"""Exploration: which configuration of the table serves next.

:class:`Boltzmann` is the paper's: a configuration with a low value is likely, and the temperature
says how likely. :class:`ExpectedSaving` tries a configuration if the trial is expected to save more
over the next episodes than it costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit

from rrl.core.qtable import QTable
from rrl.core.space import Floats, Ints

TIE = 1e-9  # scores that differ by less are equal, apart from rounding
NEVER = 60.0  # a configuration that is e^60 times less likely than the best is never drawn
TINY = 1e-100  # counts in place of a value of 0, which has no logarithm


class Exploration(Protocol):
    """What every exploration answers."""

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
    end: float = 0.005
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
        """See :meth:`Exploration.choose`; one number is drawn."""
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
    """Return the index at which the distribution function exceeds a random number from 0 to 1."""
    costs = values + floor  # most logarithms of a large table are saved
    near = np.flatnonzero(costs <= costs.min() * np.exp(min(NEVER * temperature, 700.0)))
    running = np.cumsum(action_probabilities(values[near], temperature, floor))
    return int(near[np.searchsorted(running[:-1], uniform * running[-1], side="right")])


class ExpectedSaving:
    """Serve what is expected to save more than it costs.

    A trial's expected saving is its expected improvement on the incumbent, per episode, times the
    horizon. Its price is what the trial is expected to cost above the incumbent. The net saving is
    the saving less the price, and a trial pays if this is above 0. To measure the incumbent again
    has no price, and it saves, too: the incumbent may prove worse than the next best. Of the
    incumbent and the trials that pay, the one with the highest ratio of net saving to the cost of
    its episode serves. So the incumbent serves if none pays.

    Parameters
    ----------
    horizon : float, optional
        Number of episodes that profit from a better configuration. A longer horizon explores more.

    Raises
    ------
    ValueError
        If the horizon is not a positive number.

    References
    ----------
    Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box Functions",
    Journal of Global Optimization 13, 1998, equation 15 (expected improvement).

    Examples
    --------
    >>> from rrl import Knob, ConfigSpace
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> table.record(0, 1.0)
    >>> table.incumbent, table.values[:], table.sds[:] = 0, (1.0, 1.2, 3.0), (0.01, 0.3, 0.3)
    >>> rng = np.random.default_rng(1)
    >>> [ExpectedSaving(horizon).choose(table, np.arange(3), rng) for horizon in (1.0, 60.0)]
    [0, 1]
    """

    def __init__(self, horizon: float = 60.0) -> None:
        if not 0 < horizon < math.inf:
            raise ValueError(f"horizon must be a positive number of episodes, got {horizon!r}")
        self.horizon = horizon

    def choose(self, table: QTable, cells: Ints, rng: np.random.Generator) -> int:
        """See :meth:`Exploration.choose`; ties are broken at random."""
        nets, prices = self.net_savings(table, cells)
        scores = np.where(nets > 0, nets / (1 + prices), nets)
        ties = np.flatnonzero(scores >= scores.max() - TIE)
        return int(cells[ties[int(rng.random() * len(ties))]])

    def net_savings(self, table: QTable, cells: Ints) -> tuple[Floats, Floats]:
        """Return savings less prices, and prices, as fractions of the incumbent's value.

        Both have the shape (m,). Without an incumbent, all are 0.
        """
        if table.incumbent is None:
            return np.zeros(len(cells)), np.zeros(len(cells))
        reference = max(table.values[table.incumbent], TINY)
        excess = self._excess(table, cells, reference)
        sd, here = np.minimum(table.sds[cells], 10.0), cells == table.incumbent
        log_mean = np.minimum(excess + sd**2 / 2, 30.0)  # of a lognormal cost; e^30 is finite
        price = np.where(here, 0.0, np.expm1(log_mean))
        others = table.measured[table.measured != table.incumbent]
        # The incumbent may prove worse than the next best: here this one is what may be better.
        excess[here] = self._excess(table, others, reference).min(initial=1.0)
        return self.horizon * expected_improvement(excess, sd) - price, price

    @staticmethod
    def _excess(table: QTable, cells: Ints, reference: float) -> Floats:
        """Return by how much the logarithms of values exceed that of the reference, at least 0."""
        return np.maximum(np.log(np.maximum(table.values[cells], TINY) / reference), 0.0)


def expected_improvement(excess: Floats, sd: Floats) -> Floats:
    """Return the mean of max(0, -g), where g is normal with this mean (`excess`) and sd.

    Examples
    --------
    >>> expected_improvement(np.array([0.0, 1.0]), np.array([1.0, 1.0])).round(3)
    array([0.399, 0.083])
    """
    from scipy.special import ndtr

    z = excess / sd
    return sd * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) - excess * ndtr(-z)
