"""Exercises about the bound: errors and losses, covers, and the bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.exercises.judging import compare_function
from rrl.theory.cover import harmonic_mean_cover

Regions = NDArray[np.bool_]


def check_price_limits(answer: Callable[[float, float], Any]) -> None:
    """Check the bound on the error, and the sharpest bound on the loss within a state."""

    def limits(error: Callable[..., float], loss: Callable[..., float]) -> Callable[..., Any]:
        return lambda eps, gamma: (error(eps, gamma), loss(eps, gamma))

    def error(e: float, g: float) -> float:
        return e / (1 - g)

    def loss(e: float, g: float) -> float:
        return (2 - g) * e / (1 - g) ** 2

    mistakes = (
        (
            limits(lambda e, g: e, loss),
            "the error is more than eps: errors come back through the targets, e / (1 - gamma)",
        ),
        (
            limits(error, lambda e, g: 2 * e / (1 - g) ** 2),
            "that loss is theorem 2; for regions within a state theorem 3 is sharper",
        ),
        (
            limits(error, lambda e, g: 2 * e / (1 - g)),
            "that loss is theorem 4: it needs a load that nobody influences",
        ),
        (limits(loss, error), "the two bounds are swapped: first the error, then the loss"),
        (
            limits(error, lambda e, g: (2 - g) * e / (1 - g)),
            "the loss has (1 - gamma) squared: the table's error is a sum, and the loss another",
        ),
        (limits(error, error), "the loss is larger than the error: use theorem 3"),
        (
            limits(lambda e, g: e / (1 - g) ** 2, loss),
            "the error has (1 - gamma) once; the loss has it squared",
        ),
        (
            limits(lambda e, g: e * (1 - g), loss),
            "the error grows with gamma: divide by (1 - gamma)",
        ),
        (limits(lambda e, g: g * e / (1 - g), loss), "the error at gamma = 0 is eps, not 0"),
    )
    compare_function(
        answer,
        limits(error, loss),
        [(0.2, 0.9), (1.0, 0.0), (0.5, 0.5)],
        mistakes,
        returns="two numbers",
    )


def check_partition_speedup(answer: Callable[[int, int], Any]) -> None:
    """Check how many times faster a partition into groups is covered than single cells."""

    def cover(n: int) -> float:
        return float(harmonic_mean_cover(n))

    mistakes = (
        (lambda n, k: k, "k is only near: a cover takes n H_n visits, and H_n shrinks, too"),
        (
            lambda n, k: cover(n) / cover(k),
            "k is the size of a group: a cover with groups collects n / k of them",
        ),
        (lambda n, k: cover(n), "that is the cover with single cells: divide by that with groups"),
        (lambda n, k: cover(n // k), "that is the cover with groups: divide the other one by it"),
        (
            lambda n, k: k * np.log(n) / np.log(n / k),
            "the logarithm is only near: use the harmonic numbers",
        ),
        (
            lambda n, k: cover(n) / k / cover(n // k),
            "a visit chooses one of n / k groups: the sum has k in it already",
        ),
        (lambda n, k: cover(n) - cover(n // k), "that is a difference: divide the two"),
    )
    cases = [(12, 1), (12, 2), (12, 3), (12, 6), (40, 4)]
    compare_function(answer, lambda n, k: cover(n) / cover(n // k), cases, mistakes)


def line_regions(radius: float, cells: int) -> Regions:
    """Return the regions of a line: whether two of its cells are within the radius."""
    place = np.arange(cells)
    return np.abs(place[:, None] - place) <= radius


def check_uniform_bias(answer: Callable[[float, Regions], Any]) -> None:
    """Check the bound on the bias of means over regions, for uniform visits."""
    mistakes = (
        (
            lambda e, near: (1 - 1 / near.sum(axis=1).min()) * e,
            "the own cell counts least in the largest region: use max",
        ),
        (
            lambda e, near: (1 - 1 / near.sum(axis=1).mean()) * e,
            "the bound has to hold for the largest region, not for the mean one",
        ),
        (lambda e, near: e, "that is the old bound: the own cell counts 1 / m, and has no error"),
        (
            lambda e, near: e / near.sum(axis=1).max(),
            "1 / m is the weight of the own cell: the others have the weight 1 - 1 / m",
        ),
        (
            lambda e, near: (1 - 1 / len(near)) * e,
            "m is the size of the largest region, not the number of all cells",
        ),
        (
            lambda e, near: (1 - 1 / near.sum()) * e,
            "m is the size of one region: sum along a row, axis=1",
        ),
        (lambda e, near: 1 - 1 / near.sum(axis=1).max(), "`eps` does not count: multiply by it"),
        (
            lambda e, near: (1 - 1 / near.sum(axis=1)) * e,
            "that is one number per cell: take the one of the largest region",
        ),
        (
            lambda e, near: (1 - 1 / (near.sum(axis=1).max() + 1)) * e,
            "the row of a cell contains the cell itself already",
        ),
        (
            lambda e, near: (1 - 1 / (near.sum(axis=1).max() - 1)) * e,
            "the region contains the cell itself: m counts it, too",
        ),
    )
    cases = [(eps, line_regions(radius, 8)) for eps in (1.0, 0.3) for radius in (1, 2, 7)]
    compare_function(answer, lambda e, near: (1 - 1 / near.sum(axis=1).max()) * e, cases, mistakes)


def check_own_counts_more(answer: Callable[[Regions, float], Any]) -> None:
    """Check the weights of a mean in which the cell itself counts several times."""

    def weights(near: Regions, own: float) -> NDArray[np.float64]:
        return near + (own - 1) * np.eye(len(near))

    def rows(matrix: Any) -> Any:
        return matrix / matrix.sum(axis=1, keepdims=True)

    mistakes = (
        (weights, "the rows do not add up to 1: divide each row by its sum"),
        (
            lambda near, own: weights(near, own) / weights(near, own).sum(axis=0, keepdims=True),
            "the columns add up to 1: divide each row by its sum, with axis=1 and keepdims=True",
        ),
        (
            lambda near, own: weights(near, own) / weights(near, own).sum(),
            "that divides by the sum of all: divide each row by its own sum",
        ),
        (
            lambda near, own: rows(near + own * np.eye(len(near))),
            "the cell counts own + 1 times: it is in `near` already, so add own - 1",
        ),
        (lambda near, own: rows(near), "`own` does not count: the cell counts `own` times"),
        (
            lambda near, own: rows(1 + (own - 1) * np.eye(len(near))),
            "cells outside the region count, too: start from `near`",
        ),
        (
            lambda near, own: rows(near + (1 / own - 1) * np.eye(len(near))),
            "upside down: the cell counts more than its neighbours",
        ),
    )
    cases = [(line_regions(2, 8), own) for own in (1.0, 4.0, 16.0)]
    compare_function(answer, lambda near, own: rows(weights(near, own)), cases, mistakes)
