"""Exercises about measurements: standard errors, and pairs of measurements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from rrl.exercises.judging import Function, Values

#: How many episodes lower a standard error from 10 % (of 4) to 5 % and to 1 %.
check_numbers_of_episodes = Values(
    for_five=(
        16,
        (8, "the error falls with the square root of the number of episodes"),
        (12, "that is how many more are needed: the question is how many in all"),
        (2, "fewer episodes give a larger error"),
    ),
    for_one=(
        400,
        (40, "a tenth of the error needs a hundred times as many episodes, not ten times"),
        (396, "that is how many more are needed: the question is how many in all"),
        (4000, "a tenth of the error needs 10**2 times as many episodes, not 10**3 times"),
    ),
)


#: The standard error of a mean, as a fraction of the mean.
check_relative_error = Function(
    lambda c: np.std(c, ddof=1) / np.sqrt(len(c)) / np.mean(c),
    [([10.0, 14.0, 12.0, 8.0],), ([1.0, 2.0, 3.0],), (np.array([5.0, 5.5, 4.0, 6.0, 5.0]),)],
    (
        lambda c: np.std(c, ddof=1) / np.mean(c),
        "that is the scatter of one episode: divide by the square root of n",
    ),
    (lambda c: np.std(c, ddof=1) / len(c) / np.mean(c), "divide by the square root of n, not by n"),
    (
        lambda c: np.std(c, ddof=1) / np.sqrt(len(c)),
        "that is in the unit of the costs: divide by their mean",
    ),
    (
        lambda c: np.std(c) / np.sqrt(len(c)) / np.mean(c),
        "the standard deviation has the divisor n: use ddof=1",
    ),
    (
        lambda c: np.var(c, ddof=1) / np.sqrt(len(c)) / np.mean(c),
        "that is the variance: take the standard deviation",
    ),
    hint="`costs` may be a list: np.asarray(costs) makes an array of it.",
)


def _scatter(paired: Callable[..., Any], apart: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b, together: (paired if together else apart)(a, b)


def _paired(a: Any, b: Any) -> Any:
    return np.std(np.log(a) - np.log(b), ddof=1)


def _apart(a: Any, b: Any) -> Any:
    return np.sqrt(np.var(np.log(a), ddof=1) + np.var(np.log(b), ddof=1))


_A, _B = np.exp([0.0, 1.0, 2.0]), np.exp([0.5, 1.4, 2.6])

#: The standard deviation of a log ratio, with and without pairs.
check_scatter = Function(
    _scatter(_paired, _apart),
    [(a, b, paired) for a, b in ((_A, _B), (_B, _A[::-1])) for paired in (True, False)],
    (_scatter(_paired, _paired), "`paired=False` gives the paired scatter: use the argument"),
    (_scatter(_apart, _apart), "`paired=True` gives the unpaired scatter: use the argument"),
    (
        _scatter(lambda a, b: np.std(a / b, ddof=1), _apart),
        "paired: take the logarithm of the ratio",
    ),
    (
        _scatter(lambda a, b: np.std(np.log(a / b)), _apart),
        "paired: use ddof=1, so divide by n - 1",
    ),
    (
        _scatter(_paired, lambda a, b: np.hypot(*np.std(np.log([a, b]), axis=1))),
        "not paired: use ddof=1, so divide by n - 1",
    ),
    (
        _scatter(_paired, lambda a, b: np.var(np.log([a, b]), axis=1, ddof=1).sum()),
        "not paired: take the square root of the sum of the variances",
    ),
)
