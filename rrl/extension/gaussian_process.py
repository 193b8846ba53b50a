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

The module is not replaced by a library for one reason: :func:`fit_hyperparameters` moves on a
coarse grid, and likelihoods that differ only by rounding are a tie. So every processor finds the
same hyperparameters.

References
----------
Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), chapters 2, 4.2 and 5.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from scipy.linalg import blas, lapack

from rrl.core.space import Floats

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
    """

    length_scales: Floats
    amplitude: float
    nugget: float = NUGGET


def correlation(a: Floats, b: Floats, length_scales: Floats) -> Floats:
    """Return the Matérn correlation (5/2) between points of shape (m, d) and (n, d), read-only.

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [4.0]])
    >>> correlation(x[:1], x, np.array([2.0])).round(2)
    array([[1.  , 0.83, 0.14]])
    """
    points = (np.asarray(x, float).tobytes() for x in (a, b, length_scales))
    return _correlation(len(a), len(b), *points)


@lru_cache(maxsize=2)  # among the measured points, and with others
def _correlation(m: int, n: int, a: bytes, b: bytes, length_scales: bytes) -> Floats:
    """Return what :func:`correlation` does, or what it was for the same numbers a moment ago.

    While only configurations serve that were measured before, the points stay the same, and the
    noise of their means changes.
    """
    scales = np.frombuffer(length_scales)
    of_a, of_b = (
        np.frombuffer(x).reshape(size, len(scales)) / scales for x, size in ((a, m), (b, n))
    )
    norms = np.add.outer((of_a * of_a).sum(axis=1), (of_b * of_b).sum(axis=1))
    r = np.sqrt(5 * np.maximum(norms - 2 * of_a @ of_b.T, 0))  # rounding may take a square below 0
    result: Floats = (1 + r + r * r / 3) * np.exp(-r)
    result.flags.writeable = False  # it is shared with the next caller
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
    >>> mean, sd = process.posterior_at_measured()
    >>> mean.round(2), sd.round(2)
    (array([0., 1.]), array([0.01, 0.01]))
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
        self._y, self._variance = y, variance
        covariance = self._kernel(x, x)
        covariance[np.diag_indices(len(y))] += variance + hyperparameters.nugget**2
        self._factor, _ = lapack.dpotrf(covariance, lower=1)
        columns = np.column_stack([y, np.ones(len(y))])
        whitened, _ = lapack.dtrtrs(self._factor, columns, lower=1)
        weighted, weight = whitened[:, 0] @ whitened[:, 1], whitened[:, 1] @ whitened[:, 1]
        self._surprise = 0.0  # of the mean, as a part of the log likelihood
        if mean_prior is None:
            self.mean = weighted / weight
        else:
            centre, sd = mean_prior
            self.mean = (weighted + centre / sd**2) / (weight + 1 / sd**2)
            surprise = ((self.mean - centre) / sd) ** 2 + math.log1p(weight * sd**2)
            self._surprise = float(surprise) / 2
        self._residual = whitened[:, 0] - self.mean * whitened[:, 1]
        self._alpha, _ = lapack.dtrtrs(self._factor, self._residual, lower=1, trans=1)

    def _kernel(self, a: Floats, b: Floats) -> Floats:
        """Return the covariances k(a, b) that neighbours predict, shape (m, n)."""
        amplitude = self.hyperparameters.amplitude
        return amplitude**2 * correlation(a, b, self.hyperparameters.length_scales)

    def posterior(self, points: Floats) -> tuple[Floats, Floats]:
        """Return posterior mean and sd where nothing was measured.

        `points` has shape (n, d), and both results have shape (n,).
        """
        cross = self._kernel(points, self.x)
        mean = self.mean + cross @ self._alpha
        explained = blas.dtrmm(1.0, self._inverse_factor, cross.T, lower=1, overwrite_b=1)
        prior = self.hyperparameters.amplitude**2 + self.hyperparameters.nugget**2
        left = prior - np.einsum("ij,ij->j", explained, explained)
        return mean, np.sqrt(np.maximum(left, 1e-8))

    def posterior_at_measured(self) -> tuple[Floats, Floats]:
        """Return posterior mean and sd, nugget included, at the points that were measured.

        Since (K - V) K^-1 = I - V K^-1, the posterior mean is y - V alpha, and the posterior
        variance is the diagonal of V - V K^-1 V. So no correlation has to be computed again.
        """
        precisions = np.einsum("ij,ij->j", self._inverse_factor, self._inverse_factor)  # of K^-1
        left = self._variance * (1 - self._variance * precisions)
        mean = self._y - self._variance * self._alpha
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


def fit_hyperparameters(
    process: Callable[[Hyperparameters], GaussianProcess],
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
    process : callable
        What makes the Gaussian process of the measurements with some hyperparameters.
    start : Hyperparameters
        The search begins here.
    prior : Hyperparameters
        Their logarithms are the means of the prior.

    Examples
    --------
    >>> from functools import partial
    >>> x = np.array([[a, b] for a in range(4) for b in range(4)], dtype=float)
    >>> process = partial(GaussianProcess, x, x[:, 0] ** 2 / 5, np.full(16, 1e-3))
    >>> start = Hyperparameters(np.full(2, 3.0), 1.0)
    >>> found = fit_hyperparameters(process, start, start)
    >>> bool(found.length_scales[1] > 2 * found.length_scales[0])
    True
    """

    def logs_of(one: Hyperparameters) -> Floats:
        return np.log([*one.length_scales.tolist(), one.amplitude, one.nugget])

    def given(logs: Floats) -> Hyperparameters:
        *length_scales, amplitude, nugget = np.exp(logs).tolist()
        return Hyperparameters(np.array(length_scales), amplitude, nugget)

    def merit(logs: Floats) -> float:
        likelihood = process(given(logs)).log_likelihood
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
