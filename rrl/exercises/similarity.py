"""Exercises about similarity: a variogram, a length scale, and an honest radius."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from rrl.core.gaussian_process import GaussianProcess, Hyperparameters
from rrl.exercises.judging import compare_function, compare_value

CANDIDATES = np.arange(0.5, 20.5, 0.5)


def check_variogram(at_one: Any, at_two: Any) -> None:
    """Check half the mean squared differences of the log costs 0, 1 and 3 on a line."""
    ones = (
        (2.5, "that is the whole mean squared difference: take half of it"),
        (0.75, "square each difference first, then take the mean"),
        (1.5, "that is the mean difference: square each difference, and take half their mean"),
        (5, "that is the sum of the squares 1 and 4: take half their mean"),
        (0.5, "two pairs have a distance of 1: 0 and 1, and 1 and 2"),
        (2, "two pairs have a distance of 1: 0 and 1, and 1 and 2"),
        (1.125, "square each difference, not the mean difference"),
    )
    twos = (
        (9, "that is the whole squared difference: take half of it"),
        (1.5, "square the difference of 3"),
        (3, "square the difference of 3, and take half"),
        (2.25, "one pair has a distance of 2: divide by one pair, and by 2 once"),
        (18, "take half of the squared difference, not twice of it"),
    )
    compare_value(at_one, 1.25, ones, "at_one")
    compare_value(at_two, 4.5, twos, "at_two")
    print("by hand: right")


def _shortest(
    wanted: float,
    *,
    points: tuple[float, float] = (0.0, 4.0),
    at: float = 2.0,
    variance: float = 0.01,
    amplitude: float = 1.0,
    squared: bool = False,
    lengths: Sequence[float] = tuple(CANDIDATES),
) -> float:
    """Return the first length scale for which the posterior's sd is at most `wanted`."""
    x, logs, noise = np.array(points)[:, None], np.zeros(2), np.full(2, variance)
    for length in lengths:
        process = GaussianProcess(x, logs, noise, Hyperparameters(np.array([length]), amplitude))
        sd = process.posterior(np.array([[at]]))[1][0]
        if (sd**2 if squared else sd) <= wanted:
            return float(length)
    return float("nan")


def check_shortest_length(answer: Callable[[float], Any]) -> None:
    """Check the smallest length scale whose posterior is precise enough half way."""

    def position(wanted: float) -> int:
        return int(np.flatnonzero(_shortest(wanted) == CANDIDATES)[0])

    mistakes = (
        (
            lambda wanted: CANDIDATES[-1],
            "that is the longest candidate: return the first one that is precise enough",
        ),
        (
            lambda wanted: CANDIDATES[0],
            "that is the shortest candidate, whatever `wanted` is: compare the posterior's sd",
        ),
        (
            lambda wanted: _shortest(wanted, squared=True),
            "the variance was compared with `wanted`: compare the standard deviation",
        ),
        (
            lambda wanted: _shortest(wanted, at=0.0),
            "that is the standard deviation at a measured point: look half way, at 2",
        ),
        (
            lambda wanted: _shortest(wanted, variance=0.1),
            "0.01 is the variance of a measurement already: do not take its square root",
        ),
        (
            lambda wanted: _shortest(wanted, variance=0.0001),
            "0.01 is the variance of a measurement already: do not square it",
        ),
        (
            lambda wanted: _shortest(wanted, points=(0.0, 2.0), at=1.0),
            "the measured points are 0 and 4, and the point half way is 2",
        ),
        (position, "that is the position in `candidates`: return the length scale"),
        (
            lambda wanted: CANDIDATES[position(wanted) - 1],
            "that is the last candidate that is not precise enough: return the next one",
        ),
        (
            lambda wanted: CANDIDATES[position(wanted) + 1],
            "a shorter candidate is precise enough, too: return the first one",
        ),
    )
    hint = "Points have the shape (n, 1), and the length scales are an array with one entry."
    compare_function(
        answer,
        _shortest,
        [(0.5,), (0.3,), (0.7,)],
        mistakes,
        hints={ValueError: hint, IndexError: hint, TypeError: hint},
        returns="a length scale",
    )
    print("shortest_length: right")


def _errors(copied: Sequence[float], mean: Sequence[float], largest: float = 30.0) -> pd.DataFrame:
    """Return made errors: at each distance three, whose median is the one given."""
    rows = [
        (estimator, distance, error * factor)
        for estimator, errors in (("copy", copied), ("global mean", mean))
        for distance, error in enumerate(errors, 1)
        for factor in ((0.9, 1.0, largest) if estimator == "copy" else (0.9, 1.0, 1.1))
    ]
    return pd.DataFrame(rows, columns=["estimator", "distance", "error"]).sample(
        frac=1, random_state=1
    )


def _wins(table: pd.DataFrame, how: str = "median") -> pd.Series:
    middle = table.groupby(["estimator", "distance"])["error"].agg(how)
    return middle["copy"] < middle["global mean"]


def check_useful_radius(answer: Callable[[pd.DataFrame], Any]) -> None:
    """Check up to which distance a copy is better than the global mean."""

    def useful(wins: pd.Series) -> int:
        return int(wins.index[wins.cummin()].max()) if wins.iloc[0] else 0

    def at_most(table: pd.DataFrame) -> int:
        middle = table.groupby(["estimator", "distance"])["error"].median()
        return useful(middle["copy"] <= middle["global mean"])

    mistakes = (
        (
            lambda t: int(max(_wins(t).index[_wins(t)], default=0)),
            "a copy has to be better at every smaller distance, too: stop at the first loss",
        ),
        (lambda t: int(_wins(t).sum()), "that counts the distances won: stop at the first loss"),
        (lambda t: useful(_wins(t, "mean")), "that compares mean errors: compare the medians"),
        (lambda t: useful(~_wins(t)), "that is where the global mean is better"),
        (at_most, "an equal error is not below that of the global mean: use <"),
        (
            lambda t: int((~_wins(t)).idxmax()) if (~_wins(t)).any() else 0,
            "that is the first distance that is lost: the one before it is the last one won",
        ),
        (
            lambda t: int(_wins(t).idxmax()) if _wins(t).any() else 0,
            "that is the first distance that is won: go on to the last one before a loss",
        ),
        (lambda t: int(t["distance"].max()), "that is the largest distance of all"),
    )
    five = (5.0, 5.0, 5.0)
    copies = ((1, 2, 9), (9, 1, 1), (1, 9, 1), (1, 1, 1), (1, 5, 1), (9, 9, 9))
    hint = "The columns are `estimator`, `distance` and `error`; group by the first two."
    compare_function(
        answer,
        lambda t: useful(_wins(t)),
        [(_errors(copied, five),) for copied in copies] + [(_errors((1, 2, 9), five, 1.2),)],
        mistakes,
        hints={KeyError: hint, ValueError: hint},
        returns="a distance, or 0",
    )
    print("useful_radius: right")
