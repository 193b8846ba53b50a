"""Exploration: which configuration of the table serves next.

:class:`Boltzmann` is the paper's: configurations with a low value are likely, and a temperature
says how much. Its draws go through a sum tree (:mod:`rrl.core.sum_tree`), so their time is the
logarithm of the grid's size. :class:`ExpectedSaving` chooses what is expected to save more over
the next episodes than trying it costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rrl.core.neighbours import TIE
from rrl.core.qtable import Floats, Ints, QTable
from rrl.core.sum_tree import draw, fill_tree, mend_tree


class Exploration(Protocol):
    """Whatever chooses the next configuration from a table."""

    def choose(self, table: QTable, eligible: Ints | None, rng: np.random.Generator) -> int:
        """Return the number of a configuration in `eligible`, or of any one if that is None."""
        ...

    def worth(self, table: QTable, cells: Ints) -> NDArray[np.bool_]:
        """Return which configurations are worth a trial, whatever else may be tried."""
        ...

    def state(self, tables: list[QTable]) -> Any:
        """Return what the next choices depend on besides the tables, fit for JSON."""
        ...

    def restore(self, state: Any, tables: list[QTable]) -> None:
        """Continue from such a state."""
        ...


class ExpectedSaving:
    """Serve what is expected to save more than it costs.

    A trial's expected saving is its expected improvement on the incumbent, per episode, times the
    horizon. Its price is what the trial is expected to cost above the incumbent. It pays if it
    saves more than its price. Of the trials that pay, the one serves whose gain (saving less price)
    is highest in relation to what its episode costs. If none pays, the incumbent serves.

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
    >>> gap, deviation = np.array([0.0, 1.0]), np.array([1.0, 1.0])
    >>> expected_improvement(gap, deviation).round(3)
    array([0.399, 0.083])
    """

    def __init__(self, horizon: float = 100.0) -> None:
        if not 0 < horizon < math.inf:
            raise ValueError(f"horizon must be a positive number of episodes, got {horizon!r}")
        self.horizon = horizon

    def choose(self, table: QTable, eligible: Ints | None, rng: np.random.Generator) -> int:
        """See :meth:`Exploration.choose`; ties are broken at random."""
        cells = np.arange(len(table.space)) if eligible is None else eligible
        gains, prices = self.gains(table, cells)
        scores = np.where(gains > 0, gains / (1 + prices), gains)
        ties = np.flatnonzero(scores >= scores.max() - TIE)
        return int(cells[ties[int(rng.random() * len(ties))]])

    def worth(self, table: QTable, cells: Ints) -> NDArray[np.bool_]:
        """See :meth:`Exploration.worth`: a trial that gains more than serving the incumbent."""
        if table.incumbent is None:
            return np.ones(len(cells), dtype=np.bool_)
        gains, _ = self.gains(table, np.append(cells, table.incumbent))
        return (gains[:-1] > max(gains[-1], 0.0)) & (cells != table.incumbent)

    def gains(self, table: QTable, cells: Ints) -> tuple[Floats, Floats]:
        """Return gains and prices of trials, as shares of the incumbent's value; shape (m,).

        The incumbent has a price of 0. It gains something if it turns out to be worse than the next
        best. Without an incumbent, all gains are 0.
        """
        if table.incumbent is None:
            return np.zeros(len(cells)), np.zeros(len(cells))
        reference = max(table.values[table.incumbent], 1e-300)
        gap = self._gap(table, cells, reference)
        deviation, here = np.minimum(table.deviations[cells], 10.0), cells == table.incumbent
        price = np.where(here, 0.0, np.expm1(np.minimum(gap + deviation**2 / 2, 30.0)))
        others = table.measured[table.measured != table.incumbent]
        gap[here] = self._gap(table, others, reference).min(initial=1.0)
        return self.horizon * expected_improvement(gap, deviation) - price, price

    @staticmethod
    def _gap(table: QTable, cells: Ints, reference: float) -> Floats:
        """Return by how much the logarithms of values are above that of the reference."""
        return np.maximum(np.log(np.maximum(table.values[cells], 1e-300) / reference), 0.0)

    def state(self, tables: list[QTable]) -> None:
        """Return nothing: it has no state."""

    def restore(self, state: None, tables: list[QTable]) -> None:
        """Do nothing."""


def expected_improvement(gap: Floats, deviation: Floats) -> Floats:
    """Return the mean of max(0, -g) where g is normal with mean `gap`, see `ExpectedSaving`."""
    from scipy.special import ndtr

    z = gap / deviation
    return deviation * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) - gap * ndtr(-z)


@dataclass(frozen=True)
class Temperature:
    """A temperature that halves every `half_life` episodes, down to `end`.

    It falls in steps, because each new value costs a pass over the whole table.

    Parameters
    ----------
    start, end : float
        Above 0, with ``start >= end``. At 0.01, a configuration that costs 1 % more than the best
        is e times less likely to be chosen.
    half_life : int
        Number of episodes, at least 1.

    Examples
    --------
    >>> [Temperature(0.04, 0.01, half_life=10)(episode) for episode in (0, 9, 10, 20, 500)]
    [0.04, 0.04, 0.02, 0.01, 0.01]
    """

    start: float = 0.02
    end: float = 0.005
    half_life: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start < math.inf or self.half_life < 1:
            raise ValueError(f"need 0 < end <= start and half_life >= 1, got {self}")

    def __call__(self, episode: int) -> float:
        """Return the temperature of an episode; episodes count from 0."""
        return max(self.end, self.start * 0.5 ** min(episode // self.half_life, 1000))


class Boltzmann:
    """Draw from :func:`action_probabilities` with a temperature that falls.

    Parameters
    ----------
    temperature : Temperature, optional

    Examples
    --------
    >>> from rrl import Knob, ConfigSpace
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> table.values[:], table.floor = (4.0, 1.0, 2.0), 0.01
    >>> Boltzmann().choose(table, None, np.random.default_rng(1))
    1
    """

    def __init__(self, temperature: Temperature | None = None) -> None:
        self.temperature = Temperature() if temperature is None else temperature
        self._trees: dict[int, _Tree] = {}  # by load level

    def choose(self, table: QTable, eligible: Ints | None, rng: np.random.Generator) -> int:
        """See :meth:`Exploration.choose`; one number is drawn."""
        uniform, temperature = rng.random(), self.temperature(table.episodes)
        if eligible is not None:
            values = table.values[eligible]
            running = np.cumsum(action_probabilities(values, temperature, table.floor))
            return int(eligible[np.searchsorted(running[:-1], uniform * running[-1], "right")])
        if table.floor == 0:  # every cost so far was 0: nothing tells them apart
            return int(uniform * len(table.values))
        return int(draw(self._tree(table, temperature), uniform))

    def _tree(self, table: QTable, temperature: float) -> Floats:
        known = self._trees.get(table.level)
        scale = table.floor, temperature
        if known is not None and known.table is table and known.scale[::2] == scale:
            if known.updates == table.updates - 1:
                mend_tree(known.tree, table.values, table.last, known.scale)
                known.updates = table.updates
            if known.updates == table.updates and 1e-100 < known.tree[1] < 1e100:
                return known.tree
        lowest = float(table.values.min() + table.floor)
        return self._plant(table, (table.floor, lowest, temperature))

    def _plant(self, table: QTable, scale: tuple[float, float, float]) -> Floats:
        tree = np.zeros(2 << (len(table.values) - 1).bit_length())
        fill_tree(tree, table.values, scale)
        self._trees[table.level] = _Tree(table, tree, scale, table.updates)
        return tree

    def worth(self, table: QTable, cells: Ints) -> NDArray[np.bool_]:
        """See :meth:`Exploration.worth`: any configuration may be drawn."""
        return np.ones(len(cells), dtype=np.bool_)

    def state(self, tables: list[QTable]) -> list[list[float] | None]:
        """Return the scales of the sum trees, and whether the last update (0 or 1) is missing.

        A new tree is then equal to the last bit, now and after the next updates.
        """
        known = [self._trees.get(table.level) for table in tables]
        behind = [tree and t.updates - tree.updates for t, tree in zip(tables, known, strict=True)]
        return [
            [*tree.scale, missing] if tree and missing <= 1 else None
            for tree, missing in zip(known, behind, strict=True)
        ]

    def restore(self, state: list[list[float] | None], tables: list[QTable]) -> None:
        """See :meth:`Exploration.restore`."""
        self._trees.clear()
        for table, saved in zip(tables, state, strict=True):
            if saved is not None:
                floor, lowest, temperature, *missing = saved
                self._plant(table, (floor, lowest, temperature))
                self._trees[table.level].updates -= sum(missing)


@dataclass
class _Tree:
    """A table's sum tree, its (floor, reference, temperature), and the updates that it has."""

    table: QTable
    tree: Floats
    scale: tuple[float, float, float]
    updates: int


def action_probabilities(values: Floats, temperature: float, floor: float = 0.0) -> Floats:
    """Return Boltzmann probabilities on the logarithm of the cost: p is proportional to Q^(-1/T).

    A cost that is twice as high is 2^(1/T) times less likely, so the unit of the cost does not
    matter. (The released code's exp(k/Q) depends on it, never ends at Q = 0 and fails below.)

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
        They add up to 1.

    Examples
    --------
    >>> action_probabilities(np.array([1.0, 2.0, 4.0]), temperature=1.0).round(3)
    array([0.571, 0.286, 0.143])
    >>> action_probabilities(np.array([0.0, 0.0]), temperature=0.01)
    array([0.5, 0.5])
    """
    shifted = values + floor
    if not shifted.any():
        return np.full(len(values), 1 / len(values))
    with np.errstate(divide="ignore"):  # log 0 is -inf: all the others get probability 0
        logs = np.log(shifted)
    if np.isinf(logs).any():
        logs = np.where(np.isinf(logs), 0.0, np.inf)
    weights = np.exp((logs.min() - logs) / temperature)
    return weights / weights.sum()
