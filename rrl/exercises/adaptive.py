"""Exercises about the radius: sizes of regions, where they grow, and how fast they shrink."""

from __future__ import annotations

from typing import Any

import numpy as np

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.exercises.judging import Function, Values
from rrl.exercises.quickstart import NOT_SEVEN

#: How many configurations are within a radius of 1 and 1.5, with three knobs.
check_region_sizes = Values(
    within_1=(7, *NOT_SEVEN),
    within_1_5=(
        19,
        (27, "a corner that changes all three knobs is the square root of 3 away: 1.73"),
        (7, "two knobs changed by one step each are the square root of 2 away: 1.41"),
        (18, "the configuration itself belongs to its region"),
        (12, "the region of radius 1 belongs to it, too"),
    ),
)


_CUBE = ConfigSpace([Knob(name, (1, 2, 3, 4, 5, 6, 7)) for name in ("inter", "intra", "batch")])
_GAPS = ConfigSpace([Knob("batch", range(9))], available=[[0], [3], [4], [8]])


def _away(space: ConfigSpace, index: int | None = None) -> Any:
    """Return the distances from a configuration that there are; from the middle one by default."""
    return np.unique(space.distances(len(space) // 2 if index is None else index))


#: The smallest larger radius at which the region around the middle grows.
check_next_radius = Function(
    lambda s, r: _away(s)[_away(s) > r][0],
    [
        *((_CUBE, radius) for radius in (0.0, 0.7, 1.0, 1.5, 2.5, 2.9)),
        *((_GAPS, radius) for radius in (0.0, 1.0, 1.01)),
    ],
    (
        lambda s, r: np.sqrt(r**2 + 1),
        "that is right only if the radius is itself a distance: it may also lie between two",
    ),
    (
        lambda s, r: np.sqrt(np.floor(r**2 + 1e-9) + 1),
        "not every whole number is a sum of three squares: 7 is not",
    ),
    (lambda s, r: r + 1, "regions grow at diagonals, too: the square root of 2 comes before 2"),
    (
        lambda s, r: _away(s)[_away(s) >= r][0],
        "the radius has to be larger: at the radius itself the region has grown already",
    ),
    (
        lambda s, r: _away(s, 0)[_away(s, 0) > r][0],
        "that is the region of configuration 0, in a corner: take the middle, len(space) // 2",
    ),
    hint="`space.distances(index)` gives the distances of all configurations from one.",
)


#: By which factor the episodes grow while the best radius halves.
check_halving = Function(
    lambda d: 2.0 ** (d + 2),
    [(1,), (3,), (6,)],
    (lambda d: 2 ** (1 / (d + 2)), "the exponent is turned over: solve the power law for t"),
    (lambda d: d + 2, "the radius falls like a power of t: solve t**(-1 / (d + 2)) = 1 / 2"),
    (lambda d: 2**d, "the exponent of the radius is -1 / (d + 2), not -1 / d"),
    (lambda d: 0.5 ** (1 / (d + 2)), "that is the factor of the radius: t grows instead"),
    (lambda d: 4, "the factor depends on the number of knobs"),
)
