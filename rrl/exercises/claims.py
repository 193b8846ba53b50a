"""Exercises about claims: none of many late, the largest of many, and runs that never arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from rrl.exercises.judging import Function, numbers

#: The largest fraction of late requests of which none of n may still be seen.
check_most_late = Function(
    lambda n: 1 - 0.05 ** (1 / n),
    [(400,), (100,), (5,), (1,)],
    (lambda n: 0.05 ** (1 / n), "that is the fraction in time: the late ones are asked for"),
    (lambda n: 0.05 / n, "all n requests are in time with (1 - fraction) to the power of n"),
    (lambda n: 1 / n, "with 1 / n, none is late with a probability of about 37 %"),
    (lambda n: 3 / n, "3 / n is a good approximation for large n: give the exact number"),
)


def _seeded(answer: Callable[..., Any]) -> Callable[[int, float], Any]:
    """Return the answer with the same random generator for each call, to the nearest half.

    The means of 4,000 draws and of 20,000 differ by less than 0.25. The right means of the cases
    are near multiples of a half, so an answer that draws in another order passes, too.
    """

    @wraps(answer)
    def run(loads: int, error: float) -> Any:
        found = answer(loads, error, np.random.default_rng(1))
        array = numbers(found)
        return found if array is None else np.round(2 * array) / 2

    return run


def _mean_of(choose: Callable[[Any], Any]) -> Callable[..., float]:
    """Return the mean over 20,000 rounds; `choose` takes one number from the errors of a round."""
    return lambda loads, error, rng: choose(rng.normal(0, error, (20_000, loads))).mean()


#: By how much the largest of several noisy numbers is too large, on average.
check_excess = Function(
    _mean_of(lambda x: x.max(axis=1)),
    [(16, 5.1), (4, 2.0), (1, 5.0)],
    (_mean_of(lambda x: x.min(axis=1)), "that is the smallest: the largest saving is reported"),
    (_mean_of(lambda x: np.abs(x).max(axis=1)), "errors may be negative: do not take their size"),
    (_mean_of(lambda x: x), "that is the mean of all loads: only the largest is reported"),
    (
        _mean_of(lambda x: 50 + x.max(axis=1)),
        "subtract the true saving of 50: the excess is asked for",
    ),
    run=_seeded,
)

#: The mean number of episodes, in which a run counts at most with the horizon.
check_restricted = Function(
    lambda t, h: np.minimum(t, h).mean(),
    [
        (np.array([10.0, 20.0, np.inf]), 300),
        (np.array([10.0, np.inf]), 100),
        (np.array([10.0, 20.0, 30.0]), 50),
        (np.array([50.0, 150.0, 400.0, np.inf]), 200),
    ],
    (lambda t, h: np.mean(t), "a run that never arrives counts with the horizon"),
    (
        lambda t, h: np.mean(t[np.isfinite(t)]),
        "runs that never arrive were left out: they count with the horizon",
    ),
    (lambda t, h: np.median(np.minimum(t, h)), "that is the median: take the mean"),
    (lambda t, h: np.minimum(t, h), "that is a number per run: take their mean"),
    (
        lambda t, h: np.mean(np.where(np.isinf(t), h, t)),
        "a run that arrives after the horizon counts with the horizon, too",
    ),
)
