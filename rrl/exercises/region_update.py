"""Exercises about the region update: by hand, as a function, and weighted by the distance."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import isgenerator
from typing import Any

import numpy as np

from rrl.core.space import Floats
from rrl.exercises.judging import Function, Values

#: The table after one update of a line of four values, computed on paper.
check_by_hand = Values(
    four=(
        [7, 7, 2.5, 8],
        ([4, 4, 4, 8], "values became the cost: they move a quarter of the way"),
        ([5, 5, 3.5, 8], "the weights are swapped: the cost has 0.25, the old value 0.75"),
        ([8, 7, 2, 8], "numbers 0 and 2 are one step from number 1: they move, too"),
        ([7, 7, 2.5, 7], "number 3 is two steps from number 1: it is not in the region"),
        ([7, 7, 1.5, 8], "the value of number 2 is below the cost: it moves up, towards the cost"),
        ([7, 7, 2, 8], "number 2 is in the region, too: its value moves up, towards the cost"),
        ([8, 8, 2, 8], "nothing moved: numbers 0, 1 and 2 are in the region"),
    ),
)


# --- Updates in place --------------------------------------------------------------------------


def _table_after(update: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that updates a table and returns it, as updates return nothing."""

    @wraps(update)
    def run(values: Floats, counts: Floats, *arguments: Any) -> Any:
        returned = update(values, counts, *arguments)
        return returned if isgenerator(returned) else (values, counts)  # it has not run yet

    return run


def _inside(region: Any) -> Floats:
    return np.isin(np.arange(4), region).astype(float)


def _near(distances: Floats, length: float) -> Floats:
    return np.exp(-distances / length)


def _everywhere(*where: Any) -> Floats:
    return np.ones(4)


def _nowhere(*where: Any) -> Floats:
    return np.zeros(4)


def _gain(n: Floats, g: float, weight: Floats) -> Floats:
    return weight * np.maximum(g, 1 / n)


def _update(
    weight: Callable[..., Floats],
    counted: Callable[..., Floats],
    gain: Callable[..., Floats] = _gain,
) -> Callable[..., None]:
    """Return an update of four values that is made of these parts.

    Parameters
    ----------
    weight : callable
        How much of the gain each value gets, from 0 to 1.
    counted : callable
        By how much each count grows.
    gain : callable
        The fraction of its way to the cost that each value moves, by the new counts, the learning
        rate and the weights.
    """

    def update(
        values: Floats, counts: Floats, where: Any, cost: float, g: float, *length: float
    ) -> None:
        weights = weight(where, *length)
        counts += counted(where, *length)
        values += np.where(weights > 0, gain(counts, g, weights), 0) * (cost - values)

    return update


#: Wrong fractions, which both updates may have.
_WRONG_GAINS: tuple[tuple[Callable[..., Floats], str], ...] = (
    (
        lambda n, g, weight: weight / n,
        "with many estimates the fraction falls below the learning rate: take the larger one",
    ),
    (
        lambda n, g, weight: weight * g,
        "early estimates count no more than late ones: use max(learning rate, 1 / n)",
    ),
    (
        lambda n, g, weight: _gain(n - 1, g, weight),
        "1 / n was computed before the counts grew: add one to the counts first",
    ),
)

_REGION, _MIXED = np.array([1, 2]), np.array([9.0, 9.0, 1.0, 9.0])

#: A function that moves the values of a region towards a cost, in place.
check_update_region = Function(
    _update(_inside, _inside),
    [
        (np.full(4, 9.0), np.full(4, 7.0), _REGION, 5.0, 0.25),
        (np.full(4, 9.0), np.zeros(4), _REGION, 5.0, 0.25),
        (_MIXED, np.full(4, 20.0), _REGION, 5.0, 0.25),
        (_MIXED, np.array([7.0, 1.0, 7.0, 7.0]), _REGION, 5.0, 0.25),
    ],
    (
        _update(_nowhere, _nowhere),
        "neither array changed: write into both, as in values[region] = ...",
    ),
    (
        _update(_nowhere, _inside),
        "no value changed: write into the array, as in values[region] = ...",
    ),
    (_update(_inside, _nowhere), "`counts` did not change: add 1 inside the region"),
    (_update(_everywhere, _inside), "values outside the region changed: use the index `region`"),
    (_update(_inside, _everywhere), "counts outside the region changed: use the index `region`"),
    (
        _update(_inside, _inside, lambda n, g, weight: weight - _gain(n, g, weight)),
        "the weights are swapped: the cost has the weight g, the old value 1 - g",
    ),
    *((_update(_inside, _inside, gain), reason) for gain, reason in _WRONG_GAINS),
    hint="Index every array with `region`, and use np.maximum, not max.",
    run=_table_after,
)


_FAR = np.array([0.0, 1.0, 2.0, 50.0])

#: An update of the whole table whose fraction falls with the distance.
check_update_weighted = Function(
    _update(_near, _everywhere),
    [
        (np.full(4, 9.0), np.full(4, 7.0), _FAR, 5.0, 0.25, 2.0),
        (np.full(4, 9.0), np.zeros(4), _FAR, 5.0, 0.25, 2.0),
        (np.array([9.0, 8.0, 1.0, 3.0]), np.ones(4), _FAR, 7.0, 0.25, 0.5),
        (np.full(4, 9.0), np.full(4, 40.0), _FAR, 5.0, 0.05, 2.0),
    ],
    (
        _update(_nowhere, _nowhere),
        "neither array changed: `values = ...` makes a new array; use `+=` for both",
    ),
    (
        _update(_nowhere, _everywhere),
        "no value changed: `values = ...` makes a new array; use `values += ...`",
    ),
    (_update(_near, _nowhere), "`counts` did not change: add 1 to all of them, in place"),
    (
        _update(_everywhere, _everywhere),
        "the distance does not count: multiply the fraction by exp(-d / length)",
    ),
    (
        _update(lambda d, length: np.exp(-d), _everywhere),
        "`length` does not count: divide the distance by it",
    ),
    *((_update(_near, _everywhere, gain), reason) for gain, reason in _WRONG_GAINS),
    (
        _update(_near, _everywhere, lambda n, g, weight: np.maximum(g, weight / n)),
        "max(...) covers the exponential, so distant values move as far as near ones: "
        "multiply by exp(-d / length) after the maximum",
    ),
    hint="Use np.maximum, not max.",
    run=_table_after,
)
