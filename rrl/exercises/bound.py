"""Exercises about the bound: errors and losses, covers, and the bias."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.exercises.judging import Function
from rrl.theory import bounds
from rrl.theory.cover import harmonic_mean_cover

Regions = NDArray[np.bool_]


def _limits(error: Callable[..., Any], loss: Callable[..., Any]) -> Callable[..., Any]:
    return lambda eps, gamma: (error(eps, gamma), loss(eps, gamma))


#: The bound on the error, and the sharpest bound on the loss within a state.
check_error_and_loss = Function(
    _limits(bounds.bias, bounds.loss),
    [(0.2, 0.9), (1.0, 0.0), (0.5, 0.5)],
    (
        _limits(lambda e, g: e, bounds.loss),
        "the error is more than eps: errors come back through the targets, see theorem 2",
    ),
    (
        _limits(bounds.bias, bounds.general_loss),
        "that loss is theorem 2; for regions within a state theorem 3 is sharper",
    ),
    (
        _limits(bounds.bias, bounds.exogenous_loss),
        "that loss is theorem 4: it needs a load that no action influences",
    ),
    (_limits(lambda e, g: e * (1 - g), bounds.loss), "the error grows with gamma, but yours falls"),
)


#: How many times faster a partition into groups is covered than single cells.
check_partition_speedup = Function(
    lambda n, k: harmonic_mean_cover(n) / harmonic_mean_cover(n // k),
    [(12, 1), (12, 2), (12, 3), (12, 6), (40, 4)],
    (lambda n, k: k, "k is only approximate: a cover takes n H_n visits, and H_n shrinks, too"),
    (
        lambda n, k: harmonic_mean_cover(n) / harmonic_mean_cover(k),
        "k is the size of a group: a cover with groups collects n / k of them",
    ),
    (
        lambda n, k: k * np.log(n) / np.log(n / k),
        "the logarithm is only approximate: use the harmonic numbers",
    ),
    (
        lambda n, k: harmonic_mean_cover(n) / k / harmonic_mean_cover(n // k),
        "a visit chooses one of n / k groups: the sum has k in it already",
    ),
)


def line_regions(radius: float, cells: int) -> Regions:
    """Return the regions of a line: whether two of its cells are within the radius."""
    place = np.arange(cells)
    return np.abs(place[:, None] - place) <= radius


#: The bound on the bias of means over regions, for uniform visits.
check_uniform_bias = Function(
    lambda e, near: (1 - 1 / near.sum(axis=1).max()) * e,
    [(eps, line_regions(radius, 8)) for eps in (1.0, 0.3) for radius in (1, 2, 7)],
    (
        lambda e, near: (1 - 1 / near.sum(axis=1).min()) * e,
        "the cell itself counts least in the largest region: use max",
    ),
    (lambda e, near: e, "that is the old bound: the cell itself counts 1 / m, and has no error"),
    (
        lambda e, near: e / near.sum(axis=1).max(),
        "1 / m is the weight of the cell itself: the others have the weight 1 - 1 / m",
    ),
    (
        lambda e, near: (1 - 1 / len(near)) * e,
        "m is the size of the largest region, not the number of all cells",
    ),
    (
        lambda e, near: (1 - 1 / near.sum(axis=1)) * e,
        "that is one number per cell: take the one of the largest region",
    ),
)


def _weights(near: Regions, own: float) -> NDArray[np.float64]:
    return near + (own - 1) * np.eye(len(near))


def _rows(matrix: Any) -> Any:
    return matrix / matrix.sum(axis=1, keepdims=True)


#: The weights of a mean in which the cell itself counts several times.
check_own_counts_more = Function(
    lambda near, own: _rows(_weights(near, own)),
    [(line_regions(2, 8), own) for own in (1.0, 4.0, 16.0)],
    (_weights, "the rows do not add up to 1: divide each row by its sum"),
    (
        lambda near, own: _weights(near, own) / _weights(near, own).sum(axis=0, keepdims=True),
        "the columns add up to 1: divide each row by its sum, with axis=1 and keepdims=True",
    ),
    (
        lambda near, own: _rows(near + own * np.eye(len(near))),
        "the cell counts own + 1 times: it is in `near` already",
    ),
    (lambda near, own: _rows(near), "`own` does not count: the cell counts `own` times"),
)
