"""Statistics of many runs of many problems: a stratified bootstrap, and corrections for many.

A sample has the last axes (problems, runs). A statistic works on these two axes and keeps the axes
before them, so one call computes it for all resamples. The problems are fixed and the runs are
drawn again within each problem. So an interval tells what other seeds would give on these problems,
and not what other problems would give (Agarwal et al., "Deep Reinforcement Learning at the Edge of
the Statistical Precipice", NeurIPS 2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
Statistic = Callable[..., Values]
"""Takes one or more samples, shape (..., problems, runs), and returns an array of shape (...)."""


def stratified_draws(
    statistic: Statistic,
    samples: Sequence[Values],
    rng: np.random.Generator,
    *,
    resamples: int = 2000,
) -> Values:
    """Return a statistic of samples whose runs are drawn again within each problem.

    Run number i of each sample had the same random numbers, so all samples draw the same runs.

    Parameters
    ----------
    statistic : callable
        See `Statistic`.
    samples : sequence of ndarray, shape (problems, runs)
    rng : numpy.random.Generator
    resamples : int, optional
        How many times the runs are drawn again.

    Returns
    -------
    ndarray, shape (resamples, ...)
        The further axes are those of the statistic.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def mean(sample):
    ...     return sample.mean(axis=(-2, -1))
    >>> stratified_draws(mean, [np.ones((2, 3))], rng, resamples=4).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    problems, runs = samples[0].shape
    rows = rng.integers(runs, size=(resamples, problems, runs))
    rows += runs * np.arange(problems)[:, None]  # places in the flat samples: `take` is fast there
    return statistic(*(np.take(sample, rows) for sample in samples))


def largest_interval(
    values: Values, draws: Values, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the largest of several numbers, with an interval that allows for the selection.

    The largest of many noisy numbers is too large, because it is selected for its noise. So the
    interval must hold whichever problem is selected. The limits of all problems hold together with
    the probability `level`. The highest lower limit and the highest upper limit then enclose the
    largest true number. The width is that of the bootstrap's largest standardised deviation.

    Parameters
    ----------
    values : ndarray, shape (problems,)
    draws : ndarray, shape (resamples, problems)
        These are the same numbers, from runs that were drawn again.
    level : float, optional

    References
    ----------
    Davison & Hinkley, *Bootstrap Methods and their Application* (1997), section 4.2.4: "max-t".

    Examples
    --------
    >>> largest_interval(np.array([1.0, 5.0]), np.array([[1.0, 5.0], [1.5, 5.0]]))
    (5.0, 5.0, 5.0)
    """
    sd = draws.std(axis=0)
    noisy = sd > 0
    away = np.abs(draws[:, noisy] - values[noisy]) / sd[noisy]
    width = sd * (np.quantile(away.max(axis=1), level) if noisy.any() else 0.0)
    low, high = (values - width).max(), (values + width).max()
    return float(values.max()), float(low), float(high)


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
