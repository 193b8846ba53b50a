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

import numpy as np

from rrl.core.qtable import NOISE, QTable
from rrl.core.similarity import Estimate, Similarity
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.extension.gaussian_process import (
    GaussianProcess,
    Hyperparameters,
    Posterior,
    fit_hyperparameters,
)

# Expected log cost over the incumbent's, far from all measurements, and the sd of this expectation:
# few configurations are better than what serves, and fewer if somebody chose it.
ELSEWHERE, BESIDE_A_START = (0.5, 1.2), (2.0, 1.2)
LENGTH = 3.0  # expected length scale of a space of three knobs, in steps between values
LEAST, MOST = 0.3, 1.2  # limits of it, as fractions of the distance between first and last value
LOAD_LENGTH = 2.0  # expected length scale of the log load: a factor of 7.4
LEAST_NOISE = 0.005  # no cost is exact
FIRST_FIT, GROWTH = 8, 1.5  # the hyperparameters are fitted after 8, 13, 20, 31, ... measurements
CAP = 2.0  # costs above e^2 times the best are compressed
MOST_LOG = 200.0  # logarithm of the highest cost that is returned


def prior_hyperparameters(space: ConfigSpace) -> Hyperparameters:
    """Return what is assumed about a space before anything is measured.

    In a space of many knobs, two configurations differ in more of them. So that a measurement tells
    as much about others there, length scales grow with the square root of the number of knobs.

    References
    ----------
    Hvarfner, Hellsten & Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions",
    ICML 2024 (the square root).

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", range(8)), Knob("spin", (0, 1)), Knob("fixed", (7,))])
    >>> prior_hyperparameters(space).length_scales
    array([3. , 1.2, 1.2, 2. ])
    """
    lengths, wider = list[float](), math.sqrt(max(len(space.knobs), 3) / 3)
    for knob in space.knobs:
        span = 1 if knob.categorical else max(len(knob.values) - 1, 1)
        length = wider * min(max(LENGTH, LEAST * span), MOST * span)
        lengths += [length] * knob.coordinates.shape[1]
    return Hyperparameters(np.array([*lengths, LOAD_LENGTH]), 1.0, noise=NOISE)


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

    The noise of an episode is learned with the other hyperparameters, from repeated measurements
    and from what no smooth function explains. The table gets this noise.

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

    def __init__(self, elsewhere: tuple[float, float] | None = ELSEWHERE) -> None:
        self.elsewhere = elsewhere
        self.hyperparameters: Hyperparameters | None = None
        self._squared_errors, self._tested = 0.0, 0
        self._known: _Known | None = None

    def estimate(self, table: QTable, index: int, cost: float, cells: Ints) -> Estimate:
        """Return what all measurements mean for the region `cells`; learn from the last one."""
        self._test(table, index, cost)
        if fit_is_due(table.episodes):
            prior = prior_hyperparameters(table.space)
            start, likelihood = (
                self.hyperparameters or prior,
                _log_likelihood(table, self.elsewhere),
            )
            self.hyperparameters = fit_hyperparameters(likelihood, start, prior)
            self._known = None
        known = self._known
        if known is None or not known.add(table, index, cost, cells):
            self._known = known = _Known(table, cells, self._hyperparameters(table.space))
        table.noise = known.noise
        return known.estimate(table, cells, self.elsewhere)

    def predict(self, table: QTable, cells: Ints) -> Estimate:
        """Return what is known of `cells` before the next episode. Nothing changes.

        The table contains at least one measurement.
        """
        known = _Known(table, cells, self._hyperparameters(table.space))
        return known.estimate(table, cells, self.elsewhere)

    def _hyperparameters(self, space: ConfigSpace) -> Hyperparameters:
        return self.hyperparameters or prior_hyperparameters(space)

    @property
    def calibration(self) -> float:
        """The root mean square of the errors of what was expected of new configurations, in sds.

        It is about 1 if the process is right about how sure it is, and NaN before the first test.
        """
        return math.sqrt(self._squared_errors / self._tested) if self._tested else math.nan

    def _test(self, table: QTable, index: int, cost: float) -> None:
        """Compare a first measurement with what the table still expects."""
        value, sd = float(table.values[index]), float(table.sds[index])
        if table.visits[index] > 1 or not (sd < math.inf and cost > 0 and value > 0):
            return
        logs = compress(np.log([cost, value]) - _reference(table))
        _, noise = _limited(self._hyperparameters(table.space))
        self._squared_errors += (logs[0] - logs[1]) ** 2 / (sd**2 + noise**2)
        self._tested += 1


class _Known:
    """What the measurements of a table and of the nearest other one say about some cells."""

    def __init__(self, table: QTable, cells: Ints, hyperparameters: Hyperparameters) -> None:
        hyperparameters, self.noise = _limited(hyperparameters)
        self._of, self._episodes, self._cells = _versions(table), table.episodes, cells
        tables = [table] if table.near is None else [table, table.near]
        x = np.concatenate([_points(one, one.measured) for one in tables])
        visits = np.concatenate([one.visits[one.measured] for one in tables])
        self._costs = table.means[table.measured].tolist()
        self._near = np.concatenate([_compressed(one) for one in tables])[len(self._costs) :]
        at = np.full(len(x), -1)
        at[: len(self._costs)] = [self._number(index) for index in table.measured.tolist()]
        points, variance = _points(table, cells), self.noise**2 / visits
        self._posterior = Posterior(points, hyperparameters, x, at, variance)
        self._first = len(self._costs)  # rows before those of the other table

    def _number(self, index: int) -> int:
        """Return the position of a configuration among the cells; -1 if it is not there."""
        number = int(np.searchsorted(self._cells, index))
        return number if number < len(self._cells) and self._cells[number] == index else -1

    def add(self, table: QTable, index: int, cost: float, cells: Ints) -> bool:
        """Take in the last measurement; False if it is not the next one of the same cells."""
        number = self._number(index)
        follows = self._of == _versions(table) and self._episodes + 1 == table.episodes
        same = self._cells is cells or np.array_equal(self._cells, cells)
        if number < 0 or not (follows and same):
            return False
        self._posterior.add(number, self.noise**2)
        self._costs.append(cost)
        self._episodes += 1
        return True

    def estimate(
        self, table: QTable, cells: Ints, elsewhere: tuple[float, float] | None
    ) -> Estimate:
        """Return the estimates of the cells."""
        reference = _reference(table)
        own = compress(log_costs(np.array(self._costs)) - reference)
        y = np.concatenate([own[: self._first], self._near, own[self._first :]])
        mean, sd = self._posterior.given(y, elsewhere)
        return Estimate(np.exp(np.minimum(expand(mean) + reference, MOST_LOG)), sd)


def _versions(table: QTable) -> tuple[int, ...]:
    """Tell the tables apart that a posterior rests on, apart from the last measurement."""
    near = table.near
    return (table.level,) if near is None else (table.level, near.level, near.episodes)


def _log_likelihood(
    table: QTable, elsewhere: tuple[float, float] | None
) -> Callable[[Hyperparameters], float]:
    """Return the log likelihood of all measurements as a function of the hyperparameters."""
    tables = [table] if table.near is None else [table, table.near]
    x = np.concatenate([_points(one, one.measured) for one in tables])
    y = np.concatenate([_compressed(one) for one in tables])
    visits = np.concatenate([one.visits[one.measured] for one in tables])
    repeats = sum(one.episodes - len(one.measured) for one in tables)
    scatter = sum(one.scatter for one in tables)

    def log_likelihood(one: Hyperparameters) -> float:
        limited, noise = _limited(one)
        process = GaussianProcess(x, y, noise**2 / visits, limited, elsewhere)
        of_repeats = repeats * math.log(noise) + scatter / (2 * noise**2)
        return process.log_likelihood - of_repeats

    return log_likelihood


def _limited(one: Hyperparameters) -> tuple[Hyperparameters, float]:
    """Return hyperparameters whose noise is not below its limit, and this noise."""
    noise = max(one.noise or NOISE, LEAST_NOISE)
    return one._replace(noise=noise), noise


def _points(table: QTable, cells: Ints) -> Floats:
    """Return where the process sees configurations: their coordinates, and the log load."""
    return np.column_stack([table.space.positions[cells], np.full(len(cells), table.log_load)])


def _compressed(table: QTable) -> Floats:
    """Return the log means of what was measured over the reference, compressed."""
    return compress(log_costs(table.means[table.measured]) - _reference(table))


def _reference(table: QTable) -> float:
    """The log cost that others are compared with: the incumbent's value, or the first mean."""
    if table.incumbent is None or not table.values[table.incumbent] > 0:
        return float(log_costs(table.means[table.measured])[0])
    return math.log(table.values[table.incumbent])
