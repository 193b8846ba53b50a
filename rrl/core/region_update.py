"""Updates of a region's values: pure functions on arrays.

They are compiled with Numba, so that an update costs microseconds whatever the grid's size.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@njit(cache=True)
def update_region(
    values: Floats,
    evidence: Floats,
    ball: Ints,
    estimates: Floats,
    weights: Floats,
    step: float,
    average: bool,
) -> None:
    """Move the values of one region towards their estimates, in place.

    For every c in the ball, ``Q[c] = (1 - g) Q[c] + g estimate[c]``. The released code has
    ``g = step``. Here g is ``step * weight``, and with `average` at least ``weight / evidence``,
    which makes Q a weighted mean until the step takes over: the first estimate replaces the
    initial guess instead of being mixed with it.

    Parameters
    ----------
    values, evidence : ndarray, shape (n,)
        Q, and the sum of the weights that went into it.
    ball : ndarray of int, shape (m,)
        Indices of the region.
    estimates, weights : ndarray, shape (m,)
        Estimated cost, and how sure it is, from 0 to 1.
    step : float
        The learning rate, above 0 and at most 1.
    average : bool
        Whether evidence counts.

    References
    ----------
    Released code of "Swift Machine Learning Model Serving Scheduling", SC'19.

    Examples
    --------
    >>> values, evidence, ball = np.full(4, 9.0), np.zeros(4), np.array([1, 2])
    >>> update_region(values, evidence, ball, np.full(2, 5.0), np.ones(2), 0.25, False)
    >>> values
    array([9., 8., 8., 9.])
    """
    for j in range(len(ball)):
        c, weight = ball[j], weights[j]
        if weight > 0:
            evidence[c] += weight
            gain = step * weight
            if average:
                gain = max(gain, weight / evidence[c])
            values[c] = (1 - gain) * values[c] + gain * estimates[j]


@njit(cache=True)
def hear_region(
    values: Floats,
    evidence: Floats,
    own: Flags,
    ball: Ints,
    estimates: Floats,
    weights: Floats,
    trust: float,
) -> None:
    """Move the values of a region by what a measurement under another load says, in place.

    A weighted mean as in :func:`update_region`, except that nothing moves where this load has
    spoken for itself, and that the evidence never grows beyond `trust`: its own measurements will
    soon outweigh it.

    Parameters
    ----------
    own : ndarray of bool, shape (n,)
        Whether a measurement under this load has said anything.
    trust : float
        How many measurements the word of other loads counts for.

    Examples
    --------
    >>> values, evidence, ball = np.full(2, 9.0), np.zeros(2), np.array([0, 1])
    >>> own = np.array([False, True])
    >>> hear_region(values, evidence, own, ball, np.full(2, 5.0), np.ones(2), 2.0)
    >>> values
    array([5., 9.])
    """
    for j in range(len(ball)):
        c, weight = ball[j], weights[j]
        if weight > 0 and not own[c]:
            values[c] += weight / (evidence[c] + weight) * (estimates[j] - values[c])
            evidence[c] = min(trust, evidence[c] + weight)


@njit(cache=True)
def rescale(values: Floats, own: Flags, factor: float) -> None:
    """Multiply all values that this load has not spoken for itself by a factor, in place."""
    for c in range(len(values)):
        if not own[c]:
            values[c] *= factor
