"""Exercises about the region update: by hand, as a function, and weighted by the distance."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import isgenerator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.exercises.judging import Function, Values

Floats = NDArray[np.float64]


#: The table after one update of a line of four values, computed on paper.
check_by_hand = Values(
    four=(
        [7, 7, 2.5, 8],
        ([4, 4, 4, 8], "values became the cost: they move a quarter of the way"),
        ([5, 5, 3.5, 8], "the weights are swapped: the cost has 0.25, the old value 0.75"),
        ([8, 7, 2, 8], "numbers 0 and 2 are one step from number 1: they move, too"),
        ([7, 7, 2.5, 7], "number 3 is two steps from number 1: it is not in the region"),
        ([8, 8, 2, 8], "nothing moved: numbers 0, 1 and 2 are in the region"),
    ),
)


# --- Updates in place --------------------------------------------------------------------------


def _after(update: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that updates a table by several costs, and returns the table."""

    @wraps(update)
    def run(values: Floats, counts: Floats, where: Any, costs: list[float], *rest: float) -> Any:
        for cost in costs:
            returned = update(values, counts, where, cost, *rest)
            if isgenerator(returned):  # it has not run yet
                return returned
        return values, counts

    return run


def _rule(
    fraction: Callable[..., Any],
    counted: Callable[[Floats, Any], Any] = lambda n, where: 1,
    first: bool = True,
) -> Callable[..., None]:
    """Return an update of these parts.

    Parameters
    ----------
    fraction : callable
        The fraction of its way to the cost that each value moves, by the counts and the arguments.
    counted : callable
        By how much each count grows.
    first : bool
        Whether the counts grow before the values move.
    """

    def update(values: Floats, counts: Floats, where: Any, cost: float, *rest: float) -> None:
        if first:
            counts += counted(counts, where)
        values += fraction(counts, where, *rest) * (cost - values)
        if not first:
            counts += counted(counts, where)

    return update


def _nowhere(n: Floats, where: Any) -> float:
    return 0.0


def _larger(n: Floats, g: float) -> Floats:
    return np.maximum(g, 1 / n)


# --- The update of a region --------------------------------------------------------------------


def _inside(n: Floats, region: Any) -> NDArray[np.bool_]:
    return np.isin(np.arange(len(n)), region)


def _everywhere(n: Floats, where: Any) -> NDArray[np.bool_]:
    return np.full(len(n), True)


def _region_rule(
    fraction: Callable[[Floats, float], Any] = _larger,
    moved: Callable[..., Any] = _inside,
    counted: Callable[..., Any] = _inside,
    first: bool = True,
) -> Callable[..., None]:
    """Return a region update of these parts; the right one, if nothing is given."""
    return _rule(lambda n, r, g: np.where(moved(n, r), fraction(n, g), 0), counted, first)


_REGION, _MIXED = np.array([1, 2]), np.array([9.0, 9.0, 1.0, 9.0])

#: A function that moves the values of a region towards a cost, in place.
check_update_region = Function(
    _region_rule(),
    [
        (np.full(4, 9.0), np.full(4, 7.0), _REGION, [5.0], 0.25),
        (np.full(4, 9.0), np.zeros(4), _REGION, [5.0, 7.0], 0.25),
        (_MIXED, np.zeros(4), _REGION, [5.0] * 20 + [9.0], 0.25),
        (_MIXED, np.array([7.0, 1.0, 7.0, 7.0]), _REGION, [5.0], 0.25),
    ],
    (
        _region_rule(moved=_nowhere),
        "no value changed: write into the array, as in values[region] = ...",
    ),
    (_region_rule(counted=_nowhere), "`counts` did not change: add 1 inside the region"),
    (_region_rule(moved=_everywhere), "values outside the region changed: use the index `region`"),
    (
        _region_rule(lambda n, g: 1 - _larger(n, g)),
        "the weights are swapped: the cost has the weight g, the old value 1 - g",
    ),
    (
        _region_rule(lambda n, g: 1 / n),
        "with many estimates the fraction falls below the learning rate: take the larger one",
    ),
    (
        _region_rule(lambda n, g: g),
        "early estimates count no more than late ones: use max(learning rate, 1 / n)",
    ),
    (
        _region_rule(first=False),
        "1 / n was computed before the count grew: add one to the counts first",
    ),
    hint="Index every array with `region`, and use np.maximum, not max.",
    run=_after,
)


# --- The update by distance --------------------------------------------------------------------


def _weighted(n: Floats, far: Floats, g: float, length: float) -> Floats:
    return _larger(n, g) * np.exp(-far / length)


def _with(weight: Callable[[Floats, float], Any]) -> Callable[..., None]:
    """Return an update by distance with another weight of the distance."""
    return _rule(lambda n, d, g, length: _larger(n, g) * weight(d, length))


_FAR = np.array([0.0, 1.0, 2.0, 50.0])

#: An update of the whole table whose fraction falls with the distance.
check_update_weighted = Function(
    _rule(_weighted),
    [
        (np.full(4, 9.0), np.full(4, 7.0), _FAR, [5.0], 0.25, 2.0),
        (np.full(4, 9.0), np.zeros(4), _FAR, [5.0], 0.25, 2.0),
        (np.array([9.0, 8.0, 1.0, 3.0]), np.zeros(4), _FAR, [5.0, 7.0, 9.0], 0.25, 0.5),
        (np.full(4, 9.0), np.full(4, 40.0), _FAR, [5.0], 0.05, 2.0),
    ],
    (_with(_nowhere), "no value changed: `values = ...` makes a new array; use `values += ...`"),
    (
        _with(lambda d, length: 1),
        "the distance does not count: multiply the fraction by exp(-d / length)",
    ),
    (_with(lambda d, length: np.exp(-d)), "`length` does not count: divide the distance by it"),
    (
        _rule(lambda n, d, g, length: g * np.exp(-d / length)),
        "early estimates count no more than late ones: use max(learning rate, 1 / n)",
    ),
    (
        _rule(lambda n, d, g, length: np.exp(-d / length) / n),
        "with many estimates the fraction falls below the learning rate: take the larger one",
    ),
    (
        _rule(_weighted, first=False),
        "1 / n was computed before the counts grew: add one to the counts first",
    ),
    (
        _rule(lambda n, d, g, length: np.maximum(g, np.exp(-d / length) / n)),
        "max(...) covers the exponential, so distant values move as far as near ones: "
        "multiply by exp(-d / length) after the maximum",
    ),
    run=_after,
)
