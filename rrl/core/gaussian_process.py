"""Belief: what measurements say about every configuration, and how sure that is.

The logarithm of the cost is modelled as a Gaussian process over the knobs' levels and the
logarithm of the load. Two configurations are the less alike the further apart they are, with a
length of its own for each knob (`Prior.lengths`): a knob that hardly matters gets a long one, and
what is measured at one of its levels then speaks for all. Some of the cost is a configuration's own
(`Prior.own`), and no neighbour tells it. :func:`learn` finds the numbers under which the
measurements so far are most likely. A cost far above the best is bad and no more: its
logarithm is compressed (:func:`compress`), so that a cliff does not bend the model where it
matters.

References
----------
Rasmussen & Williams, *Gaussian Processes for Machine Learning* (2006), chapters 2, 4.2 and 5.4.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

OWN = 0.06  # what is a configuration's own is expected to be so large (standard deviation)
CAP = 2.0  # costs above e^2 times the best count for less
VARY = 0.7  # what is learned is expected to differ so much in its logarithm (standard deviation)
SAME = 1e-7  # log likelihoods that differ by less are equal but for rounding


class Prior(NamedTuple):
    """What is assumed of the log cost.

    Parameters
    ----------
    lengths : ndarray, shape (d,)
        For each coordinate, how far apart two configurations are still alike.
    amplitude : float
        Standard deviation of what they share.
    own : float
        Standard deviation of what is a configuration's own, shared with no neighbour.
    """

    lengths: Floats
    amplitude: float
    own: float = OWN

    @classmethod
    def of(cls, numbers: ArrayLike) -> Prior:
        """Make it of all its numbers in a row."""
        *lengths, amplitude, own = np.asarray(numbers, dtype=float).tolist()
        return cls(np.array(lengths), amplitude, own)

    @property
    def numbers(self) -> list[float]:
        """All of them in a row: d lengths, the amplitude, and what is its own."""
        return [*self.lengths.tolist(), self.amplitude, self.own]


def compress(log_cost: Floats, cap: float = CAP) -> Floats:
    """Let logarithms above `cap` grow only logarithmically.

    Examples
    --------
    >>> compress(np.array([-1.0, 2.0, 5.0])).round(2)
    array([-1.  ,  2.  ,  3.39])
    """
    return np.where(log_cost > cap, cap + np.log1p(np.maximum(log_cost - cap, 0)), log_cost)


def expand(compressed: Floats, cap: float = CAP) -> Floats:
    """Undo :func:`compress`.

    Examples
    --------
    >>> expand(compress(np.array([-1.0, 2.0, 5.0]))).round(2)
    array([-1.,  2.,  5.])
    """
    return np.where(compressed > cap, cap + np.expm1(np.maximum(compressed - cap, 0)), compressed)


def correlation(a: Floats, b: Floats, lengths: Floats) -> Floats:
    """Matérn correlation (5/2) between points of shape (m, d) and (n, d).

    Examples
    --------
    >>> x = np.array([[0.0], [1.0], [4.0]])
    >>> correlation(x[:1], x, np.array([2.0])).round(2)
    array([[1.  , 0.83, 0.14]])
    """
    a, b = a / lengths, b / lengths
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * a @ b.T
    r = np.sqrt(5 * np.maximum(squared, 0))
    return (1 + r + r * r / 3) * np.exp(-r)


class Belief:
    """What measurements say about every configuration, under a prior.

    Called with points of shape (n, d) where nothing was measured, it returns the mean and the
    standard deviation of their log costs.

    Parameters
    ----------
    x : ndarray, shape (m, d)
        Coordinates of the measured configurations.
    y : ndarray, shape (m,)
        Their log costs.
    variance : ndarray, shape (m,)
        Of the noise that is left in them.
    prior : Prior

    Examples
    --------
    >>> prior = Prior(np.array([2.0]), 1.0)
    >>> belief = Belief(np.array([[0.0], [4.0]]), np.array([0.0, 1.0]), np.full(2, 1e-4), prior)
    >>> mean, deviation = belief(np.array([[1.0], [2.0]]))
    >>> mean.round(2), deviation.round(2)
    (array([0.18, 0.5 ]), array([0.54, 0.72]))
    >>> belief.means().round(2), belief.deviations(np.arange(2)).round(2)
    (array([0., 1.]), array([0.01, 0.01]))
    """

    def __init__(self, x: Floats, y: Floats, variance: Floats, prior: Prior) -> None:
        from scipy.linalg import lapack

        self.x, self.prior, self._variance, self._solve = x, prior, variance, lapack.dtrtrs
        covariance = prior.amplitude**2 * correlation(x, x, prior.lengths)
        covariance[np.diag_indices(len(y))] += variance + prior.own**2
        self._factor, _ = lapack.dpotrf(covariance, lower=1)
        self._take(y)

    def _take(self, y: Floats) -> None:
        self._y = y
        whitened, _ = self._solve(self._factor, np.column_stack([y, np.ones(len(y))]), lower=1)
        self.level = (whitened[:, 0] @ whitened[:, 1]) / (whitened[:, 1] @ whitened[:, 1])
        self._residual = whitened[:, 0] - self.level * whitened[:, 1]
        self._weights, _ = self._solve(self._factor, self._residual, lower=1, trans=1)

    def given(self, y: Floats) -> Belief:
        """What would be believed if these had been the log costs; no correlation is computed."""
        other = copy.copy(self)
        other._take(y)
        return other

    def __call__(self, points: Floats) -> tuple[Floats, Floats]:
        """See the text of the class."""
        scale = self.prior.amplitude**2
        cross = scale * correlation(points, self.x, self.prior.lengths)
        known, _ = self._solve(self._factor, cross.T, lower=1)
        left = scale + self.prior.own**2 - np.einsum("ij,ij->j", known, known)
        return self.level + cross @ self._weights, np.sqrt(np.maximum(left, 1e-8))

    def means(self) -> Floats:
        """Mean of the log cost of each configuration in `x`, what is its own included.

        With K for the covariance of what was measured, and V for the diagonal of the noise,
        (K - V) K^-1 is I - V K^-1: no correlation has to be computed again.
        """
        return self._y - self._variance * self._weights

    def deviations(self, rows: NDArray[np.int64]) -> Floats:
        """Standard deviation of the same, for some rows of `x`: V - V K^-1 V has its square."""
        chosen = np.zeros((len(self.x), len(rows)))
        chosen[rows, np.arange(len(rows))] = self._variance[rows]
        known, _ = self._solve(self._factor, chosen, lower=1)
        left = self._variance[rows] - np.einsum("ij,ij->j", known, known)
        return np.sqrt(np.maximum(left, 1e-8))

    @property
    def log_likelihood(self) -> float:
        """Of the measurements under the prior, up to a constant."""
        return float(-self._residual @ self._residual / 2 - np.log(np.diag(self._factor)).sum())


def learn(x: Floats, y: Floats, variance: Floats, prior: Prior, expected: Prior) -> Prior:
    """Return the prior that makes the measurements most likely, near to what is expected.

    Its numbers are multiplied or divided by 5/3, always the one that gains most by it (and together
    those that gain the same, so that the order of the knobs is nothing to go by), as long as that
    helps; logarithms of them are normal around those expected.

    Examples
    --------
    >>> x = np.array([[a, b] for a in range(4) for b in range(4)], dtype=float)
    >>> start = Prior(np.full(2, 3.0), 1.0)
    >>> learnt = learn(x, x[:, 0] ** 2 / 5, np.full(16, 1e-3), start, start)
    >>> bool(learnt.lengths[1] > 2 * learnt.lengths[0])
    True
    """
    centre, best = np.log(expected.numbers), np.log(prior.numbers)

    def merit(logs: Floats) -> float:
        belief = Belief(x, y, variance, Prior.of(np.exp(logs)))
        return belief.log_likelihood - float(((logs - centre) ** 2).sum()) / (2 * VARY**2)

    moves = math.log(5 / 3) * np.concatenate([np.eye(len(best)), -np.eye(len(best))])
    score = merit(best)
    while True:
        merits = np.array([merit(best + move) for move in moves])
        gains_most = moves[merits > merits.max() - SAME]
        better = best + gains_most.sum(axis=0)
        reached = merits.max() if len(gains_most) == 1 else merit(better)
        if not reached > score + SAME:
            return Prior.of(np.exp(best))
        score, best = reached, better


def expected_improvement(gap: Floats, deviation: Floats) -> Floats:
    """Mean of max(0, -g) where g is normal with mean `gap` and standard deviation `deviation`.

    References
    ----------
    Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box Functions",
    Journal of Global Optimization 13, 1998, equation 15.

    Examples
    --------
    >>> expected_improvement(np.array([0.0, 1.0]), np.array([1.0, 1.0])).round(3)
    array([0.399, 0.083])
    """
    from scipy.special import ndtr

    z = gap / deviation
    return deviation * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) - gap * ndtr(-z)
