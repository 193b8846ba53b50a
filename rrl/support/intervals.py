"""Bootstrap confidence intervals for a statistic of a sample."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95  # of every interval


def bootstrap_interval(
    values: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    statistic: Any = np.median,
    resamples: int = 2000,
) -> tuple[float, float, float]:
    """Compute a statistic of a sample and its 95 % percentile bootstrap interval.

    Parameters
    ----------
    values : ndarray, shape (n, ...)
        The sample, with a row for each member. Pairs are drawn together.
    rng : numpy.random.Generator
    statistic : callable, optional
        A function that takes an array and the `axis` of the members. The default is the median.
    resamples : int, optional
        How many times the sample is drawn again.

    Returns
    -------
    centre, low, high : float
        The statistic and the two ends of its interval, in the unit of the statistic.

    References
    ----------
    Efron & Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13.

    Examples
    --------
    >>> bootstrap_interval(np.arange(101.0), np.random.default_rng(0))
    (50.0, 41.0, 59.0)
    """
    values = np.asarray(values, dtype=float)
    drawn = statistic(rng.choice(values, (resamples, len(values))), axis=1)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(statistic(values, axis=0)), float(low), float(high)


def ratio_interval(
    ours: ArrayLike, theirs: ArrayLike, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Compute the median of the paired ratios ours / theirs and its 95 % bootstrap interval.

    Examples
    --------
    >>> ratio_interval([1.0, 1.0, 1.0], [2.0, 2.0, 2.0], np.random.default_rng(0))
    (0.5, 0.5, 0.5)
    """
    return bootstrap_interval(np.asarray(ours, float) / np.asarray(theirs, float), rng)
