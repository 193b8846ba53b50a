"""A warm start: earlier measurements of another model, load or machine as a prior that fades.

Earlier costs are often similar to the costs here, but not equal. So the Gaussian process of
:class:`~rrl.core.learned_similarity.LearnedSimilarity` gets a mean: the earlier log costs times a
slope. The slope is unknown, too, and a few own measurements estimate it. It is near 1 if costs
differ as before, near 0 if the two have nothing in common, and below 0 if good configurations are
bad here. The difference from this mean is a Gaussian process as always. So own measurements always
win in the end.

The prior of the slope has a mean of 0.5 and a standard deviation (sd) of 1. A smaller sd, or a
smaller amplitude of what is left, trusts the source more (``data/README.md`` says what that costs).

References
----------
Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), chapter 2.7: a mean with
normal coefficients is a linear term of the covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.core.gaussian_process import (
    GaussianProcess,
    compress,
    fit_hyperparameters,
)
from rrl.core.knob import Configuration
from rrl.core.learned_similarity import LearnedSimilarity, prior_hyperparameters
from rrl.core.qtable import NOISE, Floats, Ints, QTable
from rrl.core.space import ConfigSpace

SLOPE, SLOPE_SD = 0.5, 1.0  # mean and sd of the slope's prior
MOST_FITTED = 200  # earlier configurations that the hyperparameters are fitted to


class Earlier(NamedTuple):
    """Earlier measurements: one entry per configuration.

    Parameters
    ----------
    configurations : sequence of configuration
        With the settings that were fixed.
    log_costs : ndarray, shape (m,)
        Mean logarithms of the costs. Only their differences matter.
    counts : ndarray of int, shape (m,)
        Numbers of measurements.
    """

    configurations: Sequence[Configuration]
    log_costs: Floats
    counts: Ints


@dataclass(frozen=True, eq=False)
class WarmStart:
    """What earlier measurements say about a space, made by :func:`transfer`.

    Parameters
    ----------
    trend : ndarray, shape (n,)
        The log cost that each configuration would have by them, with a mean of 0.
    used : int
        How many earlier configurations it is made of.
    shared, new, lost : sequence of str
        Knobs that both have, those without earlier measurements, and earlier ones that are not
        tuned now.
    """

    trend: Floats
    used: int
    shared: Sequence[str]
    new: Sequence[str] = ()
    lost: Sequence[str] = ()

    @property
    def flat(self) -> bool:
        """Whether nothing is taken over."""
        return not np.ptp(self.trend)

    def __str__(self) -> str:
        text = f"{self.used} configurations of {', '.join(self.shared)}"
        if self.flat:
            return f"{text}: they do not predict one another, so nothing is taken over"
        text += f"; {', '.join(self.new)}: nothing is known" if self.new else ""
        return text + (f"; {', '.join(self.lost)}: at the best value" if self.lost else "")


class SlopeProcess(GaussianProcess):
    """A Gaussian process whose mean is a trend times an unknown slope.

    The last column of `x` and of the points is the trend; it has no length scale.

    Examples
    --------
    >>> from rrl.core.gaussian_process import Hyperparameters
    >>> hyperparameters = Hyperparameters(np.array([2.0]), 0.1)
    >>> x = np.array([[0.0, -1.0], [1.0, 0.0], [2.0, 1.0]])
    >>> process = SlopeProcess(x, np.array([-2.0, 0.0, 2.0]), np.full(3, 1e-4), hyperparameters)
    >>> mean, sd = process.posterior(np.array([[9.0, 3.0]]))
    >>> mean.round(1)
    array([6.])
    """

    def __init__(self, x: Floats, y: Floats, *rest: Any) -> None:
        super().__init__(x, y - SLOPE * x[:, -1], *rest)
        self._y = y

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        along = SLOPE_SD**2 * np.outer(a[:, -1], b[:, -1])
        return super()._kernel(a[:, :-1], b[:, :-1]) + along

    def _prior_variance(self, points: Floats) -> Floats:
        return super()._prior_variance(points) + (SLOPE_SD * points[:, -1]) ** 2

    def posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """See :meth:`GaussianProcess.posterior`."""
        mean, sd = super().posterior(points)
        return mean + SLOPE * points[:, -1], sd


class WarmSimilarity(LearnedSimilarity):
    """The learned similarity with a trend of earlier measurements.

    Parameters
    ----------
    trend : ndarray, shape (n,)
        See :class:`WarmStart`.
    """

    process = SlopeProcess

    def __init__(self, trend: Floats) -> None:
        super().__init__(elsewhere=None)  # the trend says it
        self.trend = trend

    def points(self, table: QTable, cells: Ints) -> Floats:
        """See :meth:`LearnedSimilarity.points`; the last column is the trend."""
        return np.column_stack([super().points(table, cells), self.trend[cells]])


def transfer(space: ConfigSpace, earlier: Earlier, fixed: Configuration | None = None) -> WarmStart:
    """Say what earlier measurements mean for a space.

    Only shared knobs and shared values are used. If a knob is not tuned now, only the measurements
    at one of its values count: the value in `fixed`, or else that of the best earlier
    configuration. Along a knob that was not tuned earlier, nothing is expected to change.

    Parameters
    ----------
    space : ConfigSpace
    earlier : Earlier
    fixed : configuration, optional
        Settings that every configuration has now.

    Raises
    ------
    ValueError
        If they share no two configurations.

    Examples
    --------
    >>> from rrl import Knob
    >>> then = [{"threads": t, "batch": b} for t in range(1, 7) for b in (1, 8)]
    >>> costs = [0.3 * (c["threads"] - 3) ** 2 + c["batch"] for c in then]
    >>> space = ConfigSpace([Knob("threads", range(1, 6)), Knob("timeout", (0, 1))])
    >>> warm = transfer(space, Earlier(then, np.array(costs), np.full(12, 4)))
    >>> warm.trend[::2].round(1)
    array([ 0.2, -0.1, -0.3, -0.1,  0.2])
    >>> print(warm)
    5 configurations of threads; timeout: nothing is known; batch: at the best value
    """
    then, fixed = earlier.configurations, dict(fixed or {})
    everywhere = set.intersection(*map(set, then))
    knobs = [knob for knob in space.knobs if knob.name in everywhere]
    names = [knob.name for knob in knobs]
    rest = [name for name in then[0] if name in everywhere and name not in names]
    best = then[int(np.argmin(earlier.log_costs))]
    tuned = {name for name in rest if any(c[name] != best[name] for c in then)}
    slices = {n: fixed[n] if any(c[n] == fixed.get(n) for c in then) else best[n] for n in rest}
    rows = [
        row
        for row, c in enumerate(then)
        if all(c[n] == value for n, value in slices.items())
        and all(c[knob.name] in knob.values for knob in knobs)
    ]
    if not knobs or len(rows) < 2:
        raise ValueError("it shares no two configurations with what is tuned now")
    part = ConfigSpace(knobs)
    at, first = np.unique(
        part.indices({n: [then[row][n] for row in rows] for n in names}), return_index=True
    )
    used = np.array(rows)[first]
    trend = _smoothed(part, at, earlier.log_costs[used], earlier.counts[used])
    cells = part.indices({n: [c[n] for c in space] for n in names})
    return WarmStart(
        trend[cells] - trend[cells].mean(),
        len(used),
        names,
        [name for name in space.names if name not in names],
        sorted(name for name in tuned if slices[name] != fixed.get(name)),
    )


def _smoothed(part: ConfigSpace, at: Ints, log_costs: Floats, counts: NDArray[Any]) -> Floats:
    """Return the log costs of a whole space by those at some cells.

    They are multiplied by the fraction of their variance that neighbours predict. So costs without
    any order, which say nothing about others either, become flat.
    """
    prior, places = prior_hyperparameters(part), part.scaled_positions
    prior = prior._replace(length_scales=prior.length_scales[:-1])  # there is no load
    y, variance = compress(log_costs - log_costs.min()), NOISE**2 / counts
    chosen = np.argsort(log_costs, kind="stable")
    if len(chosen) > MOST_FITTED:  # evenly spread ones
        chosen = chosen[np.linspace(0, len(chosen) - 1, MOST_FITTED).round().astype(np.int64)]
    sample = places[at[chosen]], y[chosen], variance[chosen]
    hyperparameters = fit_hyperparameters(*sample, prior, prior)
    process = GaussianProcess(places[at], y, variance, hyperparameters)
    wrong = ((y - process.leave_one_out()) ** 2).sum()
    predicted = max(0.0, 1 - wrong / ((y - y.mean()) ** 2).sum()) if np.ptp(y) else 0.0
    return predicted * process.posterior(places)[0]
