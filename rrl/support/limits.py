"""Times that were not reached, and tests that belong together.

A run that does not reach its goal before the horizon is censored: its time is only known to be
longer. Two such runs are not equal, and their number is not the horizon.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
