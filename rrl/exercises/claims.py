"""Exercises about claims: none of many late, the largest of many, and runs that never arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.exercises.judging import ask_number, compare_function, require


def check_most_late(answer: Callable[[int], Any]) -> None:
    """Check the largest fraction of late requests of which none of n may still be seen."""
    mistakes = (
        (lambda n: 0.05 ** (1 / n), "that is the fraction of requests in time: 1 minus it is late"),
        (lambda n: 1 - 0.95 ** (1 / n), "with that fraction, none is late with 95 %, not with 5 %"),
        (lambda n: 0.05 / n, "all n requests are in time with (1 - fraction) to the power of n"),
        (lambda n: 1 / n, "with 1 / n, none is late with a probability of about 37 %"),
        (lambda n: 3 / n, "3 / n is a good approximation for large n: give the exact number"),
        (lambda n: 0.0, "none late of n does not mean that none is ever late"),
        (lambda n: 1 - 0.05**n, "take the n-th root of 5 %, not its n-th power"),
        (lambda n: 1 - 0.05 ** (1 / 400), "n is not always 400: use the parameter"),
        (lambda n: 1 - 0.025 ** (1 / n), "only one side is asked for: 5 %, not 2.5 %"),
    )
    cases = [(400,), (100,), (5,), (1,)]
    compare_function(answer, lambda n: 1 - 0.05 ** (1 / n), cases, mistakes)


def check_excess(answer: Callable[..., Any]) -> None:
    """Check by how much the largest of several noisy numbers is too large, on average."""
    cases = [(16, 5.0), (4, 2.0), (1, 5.0)]

    def mean_of(choose: Callable[[Any], Any]) -> list[float]:
        draws = np.random.default_rng(0)
        return [float(choose(draws.normal(0, e, (20_000, n))).mean()) for n, e in cases]

    found = [
        ask_number(answer, *case, np.random.default_rng(1), advice="return the mean")
        for case in cases
    ]
    allowed = [0.1 * error for _, error in cases]

    def like(values: list[float]) -> bool:
        pairs = zip(found, values, allowed, strict=True)
        return all(abs(value - other) < most for value, other, most in pairs)

    right = mean_of(lambda errors: errors.max(axis=1))
    if like(right):
        print("excess: right")
        return
    mistakes = (
        (lambda x: x.min(axis=1), "that is the smallest: the largest saving is reported"),
        (lambda x: np.abs(x).max(axis=1), "errors may be negative: do not take their size"),
        (lambda x: x.mean(axis=1), "that is the mean of all loads: only the largest is reported"),
        (lambda x: 50 + x.max(axis=1), "subtract the true saving of 50: the excess is asked for"),
        (lambda x: x.std(axis=1), "that is how much the loads scatter: take the largest"),
    )  # fmt: skip
    for wrong, reason in mistakes:
        require(not like(mean_of(wrong)), reason)
    for (loads, error), value, wanted in zip(cases, found, right, strict=True):
        require(
            abs(value - wanted) < 0.1 * error,
            f"excess({loads}, {error:g}, rng) is {value:.3g}; it has to be about {abs(wanted):.2g}",
        )


def check_restricted(answer: Callable[..., Any]) -> None:
    """Check the mean number of episodes, in which a run counts at most with the horizon."""
    mistakes = (
        (lambda t, h: np.mean(t), "a run that never arrives counts with the horizon"),
        (
            lambda t, h: np.mean(t[np.isfinite(t)]),
            "runs that never arrive were left out: they count with the horizon",
        ),
        (lambda t, h: np.median(np.minimum(t, h)), "that is the median: take the mean"),
        (lambda t, h: np.minimum(t, h), "that is a number per run: take their mean"),
        (lambda t, h: np.minimum(t, h).sum(), "that is the sum: divide by the number of runs"),
        (lambda t, h: np.minimum(t, h + 1).mean(), "count with the horizon, not with one more"),
        (lambda t, h: np.minimum(t, 300).mean(), "the horizon is not always 300"),
        (lambda t, h: np.maximum(t, h).mean(), "that is at least the horizon: take the smaller"),
        (lambda t, h: np.minimum(np.mean(t), h), "limit each run, and then take the mean"),
        (
            lambda t, h: np.mean(np.where(np.isinf(t), h, t)),
            "a run that arrives after the horizon counts with the horizon, too",
        ),
        (
            lambda t, h: np.mean(np.where(t <= h, t, 0)),
            "runs beyond the horizon count with it, not with 0",
        ),
    )
    inf, array = np.inf, np.array
    cases = [
        (array([10.0, 20.0, inf]), 300),
        (array([10.0, inf]), 100),
        (array([10.0, 20.0, 30.0]), 50),
        (array([50.0, 150.0, 400.0, inf]), 200),
    ]
    compare_function(answer, lambda t, h: np.minimum(t, h).mean(), cases, mistakes)
