"""A Gaussian process: what measurements say about all configurations, and how sure that is.

The process models the logarithm of the cost over the knobs' positions and the log load.
Two configurations are less alike the further apart they are. Each knob has its own length scale (a
categorical one has a length scale per value): a knob that hardly matters gets a long one, and a
measurement at one of its values then says much about the others. The nugget is the part of a cost
that no neighbour predicts.

Notation, as in the reference:

* x, points: coordinates of the measured configurations, shape (m, d), and of others, shape (n, d);
* y: the measured log costs; V: the diagonal matrix of the variances of their noise;
* k(a, b): the covariance of two configurations that neighbours predict, ``amplitude^2`` times a
  Matérn correlation;
* K = k(x, x) + nugget^2 I + V: the covariance of y; L: its Cholesky factor, K = L L';
* mean: the constant that y varies around, known by a normal prior and by the measurements;
  alpha = K^-1 (y - mean).

The posterior at new points has the mean ``mean + k(points, x) alpha`` and the variance
``amplitude^2 + nugget^2 - k(points, x) K^-1 k(x, points)``. This is the variance for a known
mean: how unsure `mean` is does not enter. So after few measurements, sds far from them are a
little too small.

The module is not replaced by a library for two reasons. :func:`fit_hyperparameters` moves on a
coarse grid, and likelihoods that differ only by rounding are a tie. So every processor finds the
same hyperparameters. And :class:`Posterior` takes in one measurement in a time that is proportional
to the number of points.

References
----------
Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), chapters 2, 4.2 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from rrl.core.space import Floats, Ints

NUGGET = 0.06  # expected sd of the part that no neighbour predicts
PRIOR_SD = 0.7  # of each hyperparameter's logarithm
SAME = 1e-7  # log likelihoods that differ by less are equal, apart from rounding


class Hyperparameters(NamedTuple):
    """What a Gaussian process assumes about the log cost.

    Parameters
    ----------
    length_scales : ndarray, shape (d,)
        For each coordinate, the distance over which log costs are alike.
    amplitude : float
        The sd of the part that neighbours predict.
    nugget : float
        The sd of the part that no neighbour predicts.
    noise : float or None
        The sd of one measurement's noise; None if it is known and not fitted.
    """

    length_scales: Floats
    amplitude: float
    nugget: float = NUGGET
    noise: float | None = None

    def covariance(self, a: Floats, b: Floats) -> Floats:
        """Return the covariances k(a, b) that neighbours predict, shape (m, n)."""
        result: Floats = self.amplitude**2 * correlation(a, b, self.length_scales)
        return result


def correlation(a: Floats, b: Floats, length_scales: Floats) -> Floats:
    """Return the Matérn correlation (5/2) between points of shape (m, d) and (n, d).

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [4.0]])
    >>> correlation(x[:1], x, np.array([2.0])).round(2)
    array([[1.  , 0.83, 0.14]])
    """
    a, b = a / length_scales, b / length_scales
    norms = np.add.outer((a * a).sum(axis=1), (b * b).sum(axis=1))
    r = np.sqrt(5 * np.maximum(norms - 2 * a @ b.T, 0))  # rounding may take a square below 0
    result: Floats = (1 + r + r * r / 3) * np.exp(-r)
    return result


class GaussianProcess:
    """The posterior of a Gaussian process, given measurements.

    Parameters
    ----------
    x : ndarray, shape (m, d)
        Coordinates of the measured configurations.
    y : ndarray, shape (m,)
        Their log costs.
    variance : ndarray, shape (m,)
        The variance of the noise in each log cost.
    hyperparameters : Hyperparameters
    mean_prior : tuple of float, optional
        The mean and the sd of the normal prior of `mean`. By default the prior is flat.

    Examples
    --------
    >>> hyperparameters = Hyperparameters(np.array([2.0]), 1.0)
    >>> x, y = np.array([[0.0], [4.0]]), np.array([0.0, 1.0])
    >>> process = GaussianProcess(x, y, np.full(2, 1e-4), hyperparameters)
    >>> mean, sd = process.posterior(np.array([[1.0], [2.0]]))
    >>> mean.round(2), sd.round(2)
    (array([0.18, 0.5 ]), array([0.54, 0.72]))
    """

    def __init__(
        self,
        x: Floats,
        y: Floats,
        variance: Floats,
        hyperparameters: Hyperparameters,
        mean_prior: tuple[float, float] | None = None,
    ) -> None:
        self.x, self.hyperparameters = x, hyperparameters
        covariance = hyperparameters.covariance(x, x)
        covariance[np.diag_indices(len(y))] += variance + hyperparameters.nugget**2
        self._factor, _ = lapack.dpotrf(covariance, lower=1)
        self.mean, self._residual, self._surprise = _whiten(self._factor, y, mean_prior)

    def posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """Return posterior mean and sd where nothing was measured.

        `points` has shape (n, d), and both results have shape (n,).
        """
        alpha, _ = lapack.dtrtrs(self._factor, self._residual, lower=1, trans=1)
        cross = self.hyperparameters.covariance(points, self.x)
        mean = self.mean + cross @ alpha
        explained = blas.dtrmm(1.0, self._inverse_factor, cross.T, lower=1, overwrite_b=1)
        prior = self.hyperparameters.amplitude**2 + self.hyperparameters.nugget**2
        left = prior - np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(left, 1e-8))

    @cached_property
    def _inverse_factor(self) -> Floats:
        """L^-1; for many points, a product with it is faster than a solution."""
        return lapack.dtrtri(self._factor, lower=1)[0]

    @property
    def log_likelihood(self) -> float:
        """The log likelihood of the measurements, up to a constant.

        With a flat prior, it is the likelihood at the most likely mean.
        """
        logs = np.log(np.diag(self._factor)).sum()
        return float(-self._residual @ self._residual / 2 - logs) - self._surprise


def _whiten(
    factor: Floats, y: Floats, mean_prior: tuple[float, float] | None
) -> tuple[float, Floats, float]:
    """Return the mean, L^-1 (y - mean), and the surprise of the mean in the log likelihood."""
    columns = np.column_stack([y, np.ones(len(y))])
    whitened, _ = lapack.dtrtrs(factor, columns, lower=1)
    weighted, weight = whitened[:, 0] @ whitened[:, 1], whitened[:, 1] @ whitened[:, 1]
    if mean_prior is None:
        mean, surprise = weighted / weight, 0.0
    else:
        centre, sd = mean_prior
        mean = (weighted + centre / sd**2) / (weight + 1 / sd**2)
        surprise = (((mean - centre) / sd) ** 2 + math.log1p(weight * sd**2)) / 2
    return float(mean), whitened[:, 0] - mean * whitened[:, 1], float(surprise)


class Posterior:
    """The posterior at points that stay the same, while measurements are added one by one.

    The rows of ``L^-1 k(x, points)`` are kept. A further measurement adds a row, so it takes a time
    proportional to the number of points and to that of the rows. Each point has a nugget of its
    own, which all of its measurements share.

    Parameters
    ----------
    points : ndarray, shape (n, d)
        Coordinates of all configurations that are asked about.
    hyperparameters : Hyperparameters
    x : ndarray, shape (m, d)
        Coordinates of the measured configurations, each once.
    at : ndarray of int, shape (m,)
        The number of each among the points; -1 if it is none of them.
    variance : ndarray, shape (m,)
        The variance of the noise in each measured log cost.

    Examples
    --------
    >>> hyperparameters, points = Hyperparameters(np.array([2.0]), 1.0), np.arange(3.0)[:, None]
    >>> posterior = Posterior(points, hyperparameters, points[:1], np.array([0]), np.array([0.01]))
    >>> posterior.add(2, 0.01)
    >>> mean, sd = posterior.given(np.array([0.0, 1.0]))
    >>> mean.round(2), sd.round(2)
    (array([0.01, 0.5 , 0.99]), array([0.1 , 0.33, 0.1 ]))
    """

    def __init__(
        self,
        points: Floats,
        hyperparameters: Hyperparameters,
        x: Floats,
        at: Ints,
        variance: Floats,
    ) -> None:
        self.points, self.hyperparameters, self.rows = points, hyperparameters, len(x)
        cross, known = hyperparameters.covariance(x, points), np.flatnonzero(at >= 0)
        cross[known, at[known]] += hyperparameters.nugget**2
        covariance = hyperparameters.covariance(x, x)
        covariance[np.diag_indices(len(x))] += variance + hyperparameters.nugget**2
        factor, _ = lapack.dpotrf(covariance, lower=1, clean=1)
        self._factor, self._cross = factor, lapack.dtrtrs(factor, cross, lower=1)[0]
        prior = hyperparameters.amplitude**2 + hyperparameters.nugget**2
        self._left = prior - np.einsum("ij,ij->j", self._cross, self._cross)

    def add(self, at: int, variance: float) -> None:
        """Take in one more measurement of a point, whose log cost :meth:`given` gets."""
        if self.rows == len(self._cross):  # there is no room for another row
            room = max(16, self.rows)
            self._cross = np.concatenate([self._cross, np.empty((room, len(self.points)))])
            self._factor = np.pad(self._factor, (0, room))
        known, m = self._cross[: self.rows], self.rows
        column = self.hyperparameters.covariance(self.points[[at]], self.points)[0]
        column[at] += self.hyperparameters.nugget**2
        shared = known[:, at].copy()
        pivot = math.sqrt(max(column[at] + variance - shared @ shared, 1e-12))
        self._factor[m, :m], self._factor[m, m] = shared, pivot
        row = (column - shared @ known) / pivot
        self._cross[m], self._left, self.rows = row, self._left - row * row, m + 1

    def given(
        self, y: Floats, mean_prior: tuple[float, float] | None = None
    ) -> tuple[Floats, Floats]:
        """Return posterior mean and sd of the points, nugget included, both of shape (n,).

        `y` has the log cost of each measurement, in their order.
        """
        factor = np.asfortranarray(self._factor[: self.rows, : self.rows])
        mean, residual, _ = _whiten(factor, y, mean_prior)
        return mean + residual @ self._cross[: self.rows], np.sqrt(np.maximum(self._left, 1e-8))


def fit_hyperparameters(
    log_likelihood: Callable[[Hyperparameters], float],
    start: Hyperparameters,
    prior: Hyperparameters,
) -> Hyperparameters:
    """Return hyperparameters that make the measurements likely and stay near the prior's.

    The prior of each hyperparameter's logarithm is normal, with the sd `PRIOR_SD`. A step
    of the search multiplies or divides by 5/3 the number that gains most, and the search ends when
    no step gains. Numbers that gain the same change together, so the order of the knobs does not
    matter.

    Parameters
    ----------
    log_likelihood : callable
        The log likelihood of the measurements with some hyperparameters.
    start : Hyperparameters
        The search begins here.
    prior : Hyperparameters
        Their logarithms are the means of the prior.

    Examples
    --------
    >>> x = np.array([[a, b] for a in range(4) for b in range(4)], dtype=float)
    >>> def likelihood(hyperparameters):
    ...     return GaussianProcess(
    ...         x, x[:, 0] ** 2 / 5, np.full(16, 1e-3), hyperparameters
    ...     ).log_likelihood
    >>> start = Hyperparameters(np.full(2, 3.0), 1.0)
    >>> found = fit_hyperparameters(likelihood, start, start)
    >>> bool(found.length_scales[1] > 2 * found.length_scales[0])
    True
    """

    def logs_of(one: Hyperparameters) -> Floats:
        numbers = [*one.length_scales.tolist(), one.amplitude, one.nugget]
        return np.log(numbers if one.noise is None else [*numbers, one.noise])

    def given(logs: Floats) -> Hyperparameters:
        d, numbers = len(prior.length_scales), np.exp(logs)
        return Hyperparameters(numbers[:d], *numbers[d:].tolist())

    def merit(logs: Floats) -> float:
        likelihood = log_likelihood(given(logs))
        return likelihood - float(((logs - centre) ** 2).sum()) / (2 * PRIOR_SD**2)

    centre, best = logs_of(prior), logs_of(start)
    moves = np.eye(len(best))
    moves = math.log(5 / 3) * np.concatenate([moves, -moves])
    score = merit(best)
    while True:
        merits = np.array([merit(best + move) for move in moves])
        gains_most = moves[merits > merits.max() - SAME]
        better = best + gains_most.sum(axis=0)
        reached = merits.max() if len(gains_most) == 1 else merit(better)
        if not reached > score + SAME:
            return given(best)
        score, best = reached, better
