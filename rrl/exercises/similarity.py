"""Exercises about similarity and convergence: a variogram, an honest radius, a fixed point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.exercises.bound import line_regions
from rrl.exercises.judging import Function, Values
from rrl.theory.mdp import mean_field

#: Half the mean squared differences of the log costs 0, 1 and 3 on a line.
check_variogram = Values(
    at_one=(
        1.25,
        (2.5, "that is the whole mean squared difference: take half of it"),
        (0.75, "square each difference first, then take the mean"),
        (1.5, "square each difference first, then take the mean"),
        (0.5, "two pairs have a distance of 1: 0 and 1, and 1 and 2"),
        (2, "two pairs have a distance of 1: 0 and 1, and 1 and 2"),
    ),
    at_two=(
        4.5,
        (9, "that is the whole squared difference: take half of it"),
        (1.5, "square the difference of 3"),
        (3, "square the difference of 3, and take half"),
    ),
)


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


def _useful(wins: pd.Series) -> int:
    return int(wins.index[wins.cummin()].max()) if wins.iloc[0] else 0


def _at_most(table: pd.DataFrame) -> int:
    middle = table.groupby(["estimator", "distance"])["error"].median()
    return _useful(middle["copy"] <= middle["global mean"])


_COPIES = ((1, 2, 9), (9, 1, 1), (1, 9, 1), (1, 1, 1), (1, 5, 1), (9, 9, 9))

#: Up to which distance a copy is better than the global mean.
check_useful_radius = Function(
    lambda t: _useful(_wins(t)),
    [
        *((_errors(copied, (5, 5, 5)),) for copied in _COPIES),
        (_errors((1, 2, 9), (5, 5, 5), 1.2),),
    ],
    (
        lambda t: int(max(_wins(t).index[_wins(t)], default=0)),
        "a copy has to be better at every smaller distance, too: stop at the first loss",
    ),
    (lambda t: int(_wins(t).sum()), "that counts the distances won: stop at the first loss"),
    (lambda t: _useful(_wins(t, "mean")), "that compares mean errors: compare the medians"),
    (_at_most, "an equal error is not below that of the global mean: use <"),
    (
        lambda t: int((~_wins(t)).idxmax()) if (~_wins(t)).any() else 0,
        "that is the first distance that is lost: the one before it is the last one won",
    ),
    hint="The columns are `estimator`, `distance` and `error`; group by the first two.",
)


def _sums(costs: Floats, radius: float) -> Floats:
    return np.asarray(line_regions(radius, len(costs)) @ costs)


def _sizes(costs: Floats, radius: float) -> NDArray[np.int64]:
    return line_regions(radius, len(costs)).sum(axis=1)


def _settled(costs: Floats, radius: float) -> Floats:
    return np.asarray(mean_field(line_regions(radius, len(costs))) @ costs)


def _weighted(costs: Floats, radius: float) -> Floats:
    return _sums(costs / _sizes(costs, radius), radius)


_LINE = np.array([6.0, 2.0, 4.0, 12.0, 3.0, 9.0])

#: The fixed point of means over the regions of a line, under uniform visits.
check_settles_at = Function(
    _settled,
    [(_LINE, 1), (_LINE, 2), (_LINE[:4], 0), (_LINE[:4], 3)],
    (lambda c, r: c, "these are the true costs: with regions the table is blurred"),
    (
        lambda c, r: _sums(c, r) / (2 * r + 1),
        "a region at the border is smaller than 2 radius + 1: divide by its own size",
    ),
    (
        lambda c, r: (_sums(c, r) - c) / (_sizes(c, r) - 1),
        "a configuration belongs to its own region: its own cost counts, too",
    ),
    (
        _weighted,
        "divide by the size of the region that is averaged, not by those of its neighbours",
    ),
    (
        lambda c, r: _settled(c, r - 1),
        "the distance is *at most* the radius: use <=",
    ),
    hint="`costs` is an array of shape (n,); the regions have the shape (n, n).",
)
