"""Exercises about similarity and convergence: a variogram, an honest radius, a fixed point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.exercises.bound import line_regions
from rrl.exercises.judging import Function, Values, ask, compare
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


def check_useful_radius(answer: Callable[..., Any]) -> None:
    """Check up to which distance the median error of a copy is below that of the global mean."""
    hint = "The columns are `estimator`, `distance` and `error`; group by the first two."
    near, far = (1, 2, 3), (1, 3, 4)
    for copied, distances, right in (
        ((1, 2, 9), near, 2),
        ((9, 1, 1), near, 0),
        ((1, 9, 1), near, 1),
        ((1, 1, 1), near, 3),
        ((1, 5, 1), near, 1),
        ((9, 9, 9), near, 0),
        ((1, 2, 9), far, 3),
    ):
        rows = [
            (estimator, distance, factor * error)
            for estimator, errors, factors in (
                ("copy", copied, (0.9, 1, 30)),  # in each distance one error is far off
                ("global mean", (5, 5, 5), (0.9, 1, 1.1)),
            )
            for distance, error in zip(distances, errors, strict=True)
            for factor in factors
        ]
        table = pd.DataFrame(rows, columns=["estimator", "distance", "error"])
        got = ask(answer, table.sample(frac=1, random_state=1), hint=hint)
        compare(
            "useful_radius()",
            got,
            right,
            f"the median errors of a copy are {copied} at the distances {distances}, and those of "
            "the global mean are 5",
        )
    print("useful_radius: right")


def _sums(costs: Floats, radius: float) -> Floats:
    return np.asarray(line_regions(radius, len(costs)) @ costs)


def _sizes(costs: Floats, radius: float) -> NDArray[np.int64]:
    return line_regions(radius, len(costs)).sum(axis=1)


def _settled(costs: Floats, radius: float) -> Floats:
    return np.asarray(mean_field(line_regions(radius, len(costs))) @ costs)


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
        lambda c, r: _sums(c / _sizes(c, r), r),
        "divide by the size of the region that is averaged, not by those of its neighbours",
    ),
    (
        lambda c, r: _settled(c, r - 1),
        "the distance is *at most* the radius: use <=",
    ),
    hint="`costs` is an array of shape (n,); the regions have the shape (n, n).",
)
