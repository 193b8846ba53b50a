"""Limits of fractions, times that were not reached, and tests that belong together.

A run that does not reach its goal before the horizon is censored: its time is only known to be
longer. Two such runs are not equal, and their number is not the horizon.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def fraction_limits(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact limits of a fraction of which `count` of `total` trials were observed.

    If the count is 0, the upper limit at 95 % is about 3.7 divided by the number of trials. The
    "rule of three" (3 divided by the number) is the one-sided limit: a confidence of 90 % here.

    References
    ----------
    Clopper & Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 26(4), 1934.

    Examples
    --------
    >>> low, high = fraction_limits(0, 400, confidence=0.9)
    >>> low, round(high, 4)
    (0.0, 0.0075)
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = betaincinv(count, total - count + 1, tail) if count > 0 else 0.0
    high = betaincinv(count + 1, total - count, 1 - tail) if count < total else 1.0
    return float(low), float(high)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return the p-values of a family of tests, adjusted as Holm does.

    Those of at most 0.05 after this are wrong in any of the tests with a probability of at most
    5 %, whatever the dependence of the tests.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6(2), 1979.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def censored_median(
    times: NDArray[np.float64], most: float, axis: int | None = None
) -> NDArray[np.float64]:
    """Return the median of times of which those of at least `most` are censored; `most` at most.

    A median between a time and a censored one is censored too, because the censored one may be of
    any length.

    Examples
    --------
    >>> censored_median(np.array([10.0, 18.0, 301.0, 301.0]), 301).item()
    301.0
    """
    times = np.where(np.asarray(times) >= most, np.inf, times)
    return np.minimum(np.median(times, axis=axis), most)
