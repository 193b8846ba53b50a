"""Learned similarity: a Gaussian process tells what all measurements say about a region.

The process (:mod:`rrl.extension.gaussian_process`) sees a configuration at its coordinates and at
the logarithm of the load. :class:`LearnedSimilarity` turns the posterior into estimates.

The size of a cost far above the best does not matter for the choice of a configuration. So the
logarithms of such costs are compressed (:func:`compress`), and a cliff does not bend the model near
the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from rrl.core.qtable import QTable
from rrl.core.similarity import Estimate, Similarity
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.extension.gaussian_process import GaussianProcess, Hyperparameters, fit_hyperparameters

# Expected log cost over the incumbent's, far from all measurements, and the sd of this expectation.
# What serves now was chosen by somebody, so few others are better:
BESIDE_A_START = 2.0, 0.6
LENGTH = 3.0  # expected length scale, in steps between values
LEAST, MOST = 0.3, 1.2  # limits of it, as fractions of the distance between first and last value
LOAD_LENGTH = 2.0  # expected length scale of the log load: a factor of 7.4
FIRST_FIT, GROWTH = 8, 1.5  # the hyperparameters are fitted after 8, 13, 20, 31, ... measurements
CAP = 2.0  # costs above e^2 times the best are compressed
MOST_LOG = 200.0  # logarithm of the highest cost that is returned


def prior_hyperparameters(space: ConfigSpace) -> Hyperparameters:
    """Return what is assumed about a space before anything is measured.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", range(8)), Knob("spin", (0, 1)), Knob("fixed", (7,))])
    >>> prior_hyperparameters(space).length_scales
    array([3. , 1.2, 1.2, 2. ])
    """
    lengths = []
    for knob in space.knobs:
        span = 1 if knob.categorical else max(len(knob.values) - 1, 1)
        lengths += [min(max(LENGTH, LEAST * span), MOST * span)] * knob.coordinates.shape[1]
    return Hyperparameters(np.array([*lengths, LOAD_LENGTH]), 1.0)


def compress(log_cost: Floats) -> Floats:
    """Let logarithms above `CAP` grow only logarithmically.

    Examples
    --------
    >>> compress(np.array([-1.0, 2.0, 5.0])).round(2)
    array([-1.  ,  2.  ,  3.39])
    """
    return np.where(log_cost > CAP, CAP + np.log1p(np.maximum(log_cost - CAP, 0)), log_cost)


def expand(compressed: Floats) -> Floats:
    """Undo :func:`compress`.

    Examples
    --------
    >>> expand(compress(np.array([-1.0, 2.0, 5.0]))).round(2)
    array([-1.,  2.,  5.])
    """
    return np.where(compressed > CAP, CAP + np.expm1(np.maximum(compressed - CAP, 0)), compressed)


def log_costs(costs: Floats) -> Floats:
    """Return the logarithms of costs; a cost of 0 counts as half the lowest cost above it.

    Examples
    --------
    >>> log_costs(np.array([1.0, 0.0])).round(2), log_costs(np.zeros(2))
    (array([ 0.  , -0.69]), array([0., 0.]))
    """
    lowest = costs[costs > 0].min(initial=np.inf)
    return np.log(np.where(costs > 0, costs, lowest / 2 if math.isfinite(lowest) else 1.0))


def log_means(table: QTable) -> Floats:
    """Return the logarithms of the measured configurations' mean costs, in their order."""
    return log_costs(table.means[table.measured])


def fit_is_due(episodes: int, first: int = FIRST_FIT) -> bool:
    """Return whether the hyperparameters are fitted after this number of measurements.

    Examples
    --------
    >>> [episodes for episodes in range(50) if fit_is_due(episodes)]
    [8, 13, 20, 31, 47]
    """
    due = first
    while due < episodes:
        due = int(GROWTH * due) + 1
    return due == episodes


class LearnedSimilarity(Similarity):
    """All measurements so far, of this load level and the nearest other one, estimate a region.

    The load is a coordinate like the knobs, so the process also learns how much two loads are
    alike. Each estimate is made of all measurements, so it should replace the value of the table:
    it needs a learning rate of 1.

    Parameters
    ----------
    elsewhere : tuple of float, optional
        The expected logarithm of a cost far from all measurements over the incumbent's cost, and
        the sd of this expectation. A trial there then has a high price until the costs seen say
        otherwise. It is the prior of the process's mean; with None, that prior is flat.

    Attributes
    ----------
    hyperparameters : Hyperparameters or None
        What was fitted last; None before the first fit.

    Examples
    --------
    >>> from rrl import Knob
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2, 4, 8))]))
    >>> similarity = LearnedSimilarity()
    >>> for index, cost in ((0, 1.0), (3, 2.0)):
    ...     table.record(index, cost)
    ...     estimate = similarity.estimate(table, index, cost, np.arange(4))
    >>> estimate.costs.round(2), estimate.sds.round(2)
    (array([1.02, 1.24, 1.61, 1.97]), array([0.15, 0.31, 0.31, 0.15]))
    """

    def __init__(self, elsewhere: tuple[float, float] | None = None) -> None:
        self.elsewhere = elsewhere
        self.hyperparameters: Hyperparameters | None = None

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """See :meth:`rrl.core.similarity.Similarity.estimate`."""
        if fit_is_due(table.episodes):
            prior = prior_hyperparameters(table.space)
            start = self.hyperparameters or prior
            self.hyperparameters = fit_hyperparameters(self._process(table), start, prior)
        return self.predict(table, cells)

    def predict(self, table: QTable, cells: Ints) -> Estimate:
        """Return what is known of `cells` before the next episode. Nothing changes.

        The table contains at least one measurement.
        """
        known = self.hyperparameters or prior_hyperparameters(table.space)
        process, posterior = self._process(table)(known), np.empty((2, len(table.space)))
        at_measured = np.stack(process.posterior_at_measured())
        posterior[:, table.measured] = at_measured[:, : len(table.measured)]
        others = cells[table.visits[cells] == 0]
        if len(others):
            posterior[:, others] = process.posterior(_points(table, others))
        mean, sd = posterior[:, cells]
        costs = np.exp(np.minimum(expand(mean) + _reference(table), MOST_LOG))
        return Estimate(costs, sd)

    def _process(self, table: QTable) -> Callable[[Hyperparameters], GaussianProcess]:
        """Return what makes the process of all measurements with some hyperparameters.

        The log costs of each load level are those over its reference.
        """
        tables = [table] if table.near is None else [table, table.near]
        x = np.concatenate([_points(one, one.measured) for one in tables])
        y = np.concatenate([compress(log_means(one) - _reference(one)) for one in tables])
        variance = np.concatenate([one.noise**2 / one.visits[one.measured] for one in tables])
        return partial(GaussianProcess, x, y, variance, mean_prior=self.elsewhere)


def _points(table: QTable, cells: Ints) -> Floats:
    """Return where the process sees configurations: their coordinates, and the log load."""
    return np.column_stack([table.space.positions[cells], np.full(len(cells), table.log_load)])


def _reference(table: QTable) -> float:
    """The log cost that others are compared with: the incumbent's value, or the first mean."""
    if table.incumbent is None or not table.values[table.incumbent] > 0:
        return float(log_means(table)[0])
    return math.log(table.values[table.incumbent])
