"""Exercises about the region update: by hand, as a function, and weighted by the distance."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import isgenerator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.exercises.judging import compare_function, compare_value

Floats = NDArray[np.float64]


def check_by_hand(answer: Any) -> None:
    """Check the table after one update of a line of four values, computed on paper."""
    mistakes = (
        ([4, 4, 4, 8], "values became the cost: they move a quarter of the way"),
        ([5, 5, 3.5, 8], "the weights are swapped: the cost has 0.25, the old value 0.75"),
        ([8, 7, 2, 8], "numbers 0 and 2 are one step from number 1: they move, too"),
        ([7, 7, 2.5, 7], "number 3 is two steps from number 1: it is not in the region"),
        ([9, 9, 1.5, 8], "values moved away from the cost of 4"),
        ([7, 7, 1.5, 8], "the 2 is below the cost, so it moves up"),
        ([7, 7, 3, 8], "the 2 is only 2 below the cost, and moves a quarter of that"),
        ([7, 7, 2, 8], "number 2 is one step from number 1: it moves, too"),
        ([8, 7, 2.5, 8], "number 0 is one step from number 1: it moves, too"),
        ([8, 8, 2, 8], "nothing moved: numbers 0, 1 and 2 are in the region"),
    )
    compare_value(answer, [7, 7, 2.5, 8], mistakes, "four")


# --- The update of a region --------------------------------------------------------------------


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


def _region_rule(
    fraction: Callable[[Floats, float], Any] = lambda n, g: np.maximum(g, 1 / n),
    *,
    counted: str = "region",
    moved: str = "region",
    first: bool = True,
) -> Callable[..., Any]:
    """Return a region update of these parts; the right one, if nothing is given."""

    def update(values: Floats, counts: Floats, region: Any, cost: float, step: float) -> None:
        places = {"region": region, "all": slice(None), "none": slice(0)}
        if first:
            counts[places[counted]] += 1
        weight = np.broadcast_to(fraction(counts, step), counts.shape)
        to = places[moved]
        values[to] += weight[to] * (cost - values[to])
        if not first:
            counts[places[counted]] += 1

    return _after(update)


def check_update_region(answer: Callable[..., Any]) -> None:
    """Check a function that moves the values of a region towards a cost, in place."""
    region, mixed = np.array([1, 2]), np.array([9.0, 9.0, 1.0, 9.0])
    cases = [
        (np.full(4, 9.0), np.full(4, 7.0), region, [5.0], 0.25),
        (np.full(4, 9.0), np.zeros(4), region, [5.0, 7.0], 0.25),
        (mixed, np.zeros(4), region, [5.0] * 20 + [9.0], 0.25),
        (mixed, np.array([7.0, 1.0, 7.0, 7.0]), region, [5.0], 0.25),
    ]
    mistakes = (
        (
            _region_rule(moved="none"),
            "no value changed: write into the array, as in values[region] = ...",
        ),
        (
            _region_rule(counted="none", moved="none"),
            "neither array changed: write into both, as in counts[region] += 1",
        ),
        (
            _region_rule(lambda n, g: np.maximum(g, 1 / n), counted="none"),
            "`counts` did not change: add 1 inside the region",
        ),
        (_region_rule(counted="all"), "counts outside the region grew: add 1 to counts[region]"),
        (_region_rule(moved="all"), "values outside the region changed: use the index `region`"),
        (
            _region_rule(counted="all", moved="all"),
            "both arrays changed outside the region: use the index `region` for both",
        ),
        (
            _region_rule(lambda n, g: -np.maximum(g, 1 / n)),
            "the values moved away from the cost: mind the sign of (cost - value)",
        ),
        (
            _region_rule(lambda n, g: 1.0),
            "the values became the cost: they move by a fraction of the way",
        ),
        (
            _region_rule(lambda n, g: 1 - np.maximum(g, 1 / n)),
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
            _region_rule(lambda n, g: np.minimum(g, 1 / n)),
            "that is the smaller of the two fractions: take the larger one, np.maximum",
        ),
        (
            _region_rule(first=False),
            "1 / n was computed before the count grew: add one to the counts first",
        ),
        (
            _region_rule(lambda n, g: g + 1 / n),
            "that is the sum of the two fractions: take the larger one, np.maximum",
        ),
    )
    hint = "Index every array with `region`, and use np.maximum, not max."
    compare_function(
        _after(answer), _region_rule(), cases, mistakes, hints={ValueError: hint, IndexError: hint}
    )


# --- The update by distance --------------------------------------------------------------------


def _larger(n: Floats, g: float) -> Floats:
    return np.maximum(g, 1 / n)


def _distance_rule(
    fraction: Callable[..., Any] = lambda n, g, d, length: _larger(n, g) * np.exp(-d / length),
    *,
    counted: Callable[[Floats], Any] = np.ones_like,
    first: bool = True,
) -> Callable[..., Any]:
    """Return an update by distance of these parts; the right one, if nothing is given."""

    def update(
        values: Floats, counts: Floats, far: Floats, cost: float, step: float, length: float
    ) -> None:
        if first:
            counts += counted(far)
        values += fraction(counts, step, far, length) * (cost - values)
        if not first:
            counts += counted(far)

    return _after(update)


def _with(weight: Callable[[Floats, float], Any]) -> Callable[..., Any]:
    """Return an update by distance with another weight of the distance."""
    return _distance_rule(lambda n, g, d, length: _larger(n, g) * weight(d, length))


def check_update_weighted(answer: Callable[..., Any]) -> None:
    """Check an update of the whole table whose fraction falls with the distance."""
    far = np.array([0.0, 1.0, 2.0, 50.0])
    cases = [
        (np.full(4, 9.0), np.full(4, 7.0), far, [5.0], 0.25, 2.0),
        (np.full(4, 9.0), np.zeros(4), far, [5.0], 0.25, 2.0),
        (np.array([9.0, 8.0, 1.0, 3.0]), np.zeros(4), far, [5.0, 7.0, 9.0], 0.25, 0.5),
        (np.full(4, 9.0), np.full(4, 40.0), far, [5.0], 0.05, 2.0),
    ]
    mistakes = (
        (
            _after(lambda *nothing: None),
            "neither array changed: use `counts += 1` and `values += ...`",
        ),
        (
            _with(lambda d, length: 0.0),
            "no value changed: `values = ...` makes a new array; use `values += ...`",
        ),
        (_distance_rule(counted=np.zeros_like), "`counts` did not change: all of them grow by one"),
        (
            _distance_rule(
                lambda n, g, d, length: _larger(np.maximum(n, 1), g) * np.exp(-d / length),
                counted=lambda d: d <= 1,
            ),
            "only near counts grew: all of them grow by one",
        ),
        (
            _distance_rule(counted=lambda d: d == 0),
            "only the count of the measured configuration grew: all of them grow by one",
        ),
        (
            _with(lambda d, length: -np.exp(-d / length)),
            "the values moved away from the cost: mind the sign of (cost - values)",
        ),
        (
            _with(lambda d, length: 1.0),
            "the distance does not count: multiply the fraction by exp(-d / length)",
        ),
        (
            _with(lambda d, length: (d <= 1) * np.exp(-d / length)),
            "only near values moved: every value moves, without a border",
        ),
        (
            _with(lambda d, length: np.exp(d / length)),
            "distant values moved more: the exponent is -d / length, with a minus",
        ),
        (
            _with(lambda d, length: np.exp(-d)),
            "`length` does not count: divide the distance by it",
        ),
        (
            _with(lambda d, length: np.exp(-d * length)),
            "the distance was multiplied by the length: divide it",
        ),
        (
            _with(lambda d, length: np.exp(-((d / length) ** 2))),
            "the distance was squared: the exponent is -d / length",
        ),
        (
            _distance_rule(lambda n, g, d, length: g * np.exp(-d / length)),
            "early estimates count no more than late ones: use max(learning rate, 1 / n)",
        ),
        (
            _distance_rule(lambda n, g, d, length: np.exp(-d / length) / n),
            "with many estimates the fraction falls below the learning rate: take the larger one",
        ),
        (
            _distance_rule(first=False),
            "1 / n was computed before the counts grew: add one to the counts first",
        ),
        (
            _distance_rule(lambda n, g, d, length: np.maximum(g, np.exp(-d / length) / n)),
            "max(...) covers the exponential, so distant values move as far as near ones: "
            "multiply by exp(-d / length) after the maximum",
        ),
        (
            _distance_rule(lambda n, g, d, length: np.maximum(g * np.exp(-d / length), 1 / n)),
            "only the learning rate falls with the distance: multiply max(...) by exp(-d / length)",
        ),
    )
    compare_function(_after(answer), _distance_rule(), cases, mistakes)
