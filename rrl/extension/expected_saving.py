"""Expected saving: a trial serves if it is expected to save more than it costs."""

from __future__ import annotations

import math

import numpy as np

from rrl.core.qtable import QTable
from rrl.core.space import Floats, Ints

TIE = 1e-9  # scores that differ by less are equal, apart from rounding
SHARE = 0.25  # of the episodes so far: the least horizon
TINY = 1e-100  # counts in place of a value of 0, which has no logarithm


class ExpectedSaving:
    """Serve what is expected to save more than it costs.

    A trial's expected saving is its expected improvement on the incumbent, per episode, times the
    horizon. The improvement is that of the expectation after one more measurement, which tells less
    the larger the noise is. The price of a trial is what it is expected to cost above the
    incumbent. The net saving is the saving less the price, and a trial pays if this is above 0. To
    measure the incumbent again has no price, and it saves, too: the incumbent may prove worse than
    the next best. Of the incumbent and the trials that pay, the one with the highest ratio of net
    saving to the cost of its episode serves. So the incumbent serves if none pays.

    Parameters
    ----------
    horizon : float, optional
        Number of episodes that profit from a better configuration. A longer horizon explores more.
        A configuration that has served for long will serve for longer: as soon as it is larger, the
        horizon is a quarter of the episodes so far. So exploration fades, and never ends.

    Raises
    ------
    ValueError
        If the horizon is not a positive number.

    References
    ----------
    Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box Functions",
    Journal of Global Optimization 13, 1998, equation 15 (expected improvement); Frazier, Powell &
    Dayanik, "A Knowledge-Gradient Policy for Sequential Information Collection", SIAM Journal on
    Control and Optimization 47, 2008 (the improvement of the expectation).

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
        """See :meth:`rrl.core.exploration.Exploration.choose`; ties are broken at random."""
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
        noise, horizon = table.noise, max(self.horizon, SHARE * table.episodes)
        moves = sd * sd / np.hypot(sd, noise)  # the sd by which a measurement moves the expectation
        # The incumbent may prove worse than the next best: here this one is what may be better.
        excess[here] = self._excess(table, others, reference).min(initial=1.0)
        return horizon * expected_improvement(excess, moves) - price, price

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
