"""A lower confidence bound of a mean that holds at all times at once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def lower_mean(values: ArrayLike, delta: float) -> float:
    """Return a lower bound of the mean of numbers between 0 and 1.

    With a probability of at least 1 - `delta`, no bound of a growing sample ever exceeds the true
    mean. A gambler bets against each candidate mean m: a capital of 1 grows by the factor
    ``1 + bet (x - m)`` with each value x. If m is the true mean, the capital is not expected to
    grow. So m is excluded when its capital has reached 1 / delta. The capital falls as m grows, so
    what is excluded lies below one bound.

    Parameters
    ----------
    values : array_like, shape (n,)
        The values so far, in order. They are independent, or at least each has the same mean given
        those before it.
    delta : float
        The probability of an error, above 0 and below 1.

    References
    ----------
    Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", Journal of
    the Royal Statistical Society B 86, 2024, section 4; Ville's inequality.

    Examples
    --------
    >>> lower_mean([], 0.05), lower_mean([0.0] * 50, 0.05)
    (0.0, 0.0)
    >>> round(lower_mean([0.6] * 20, 0.05), 2), round(lower_mean([0.6] * 200, 0.05), 2)
    (0.49, 0.59)
    """
    x = np.asarray(values, dtype=float)
    n = len(x)
    if not n or not x.any():
        return 0.0
    before = np.arange(1, n + 1)  # each bet uses the earlier values and a first guess of 1/2
    mean = (0.5 + np.cumsum(x)) / (before + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (before + 1)
    earlier = np.concatenate([[0.25], variance[:-1]])
    bets = np.sqrt(2 * math.log(1 / delta) / (earlier * before * np.log(before + 1)))

    def excluded(m: float) -> bool:
        capital = np.cumsum(np.log1p(np.minimum(bets, 0.75 / m) * (x - m)))
        return bool(capital.max() >= -math.log(delta))

    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excluded(middle) else (low, middle)
    return low
