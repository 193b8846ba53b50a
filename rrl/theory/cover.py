"""Cover times: the steps until every configuration was in the region of a visited one.

With regions of a single cell this is the coupon collector's problem. Cover times are exact for
spaces of a few cells, because the formulas sum over all sets of cells, and simulated for others.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike

from rrl.core.space import Bools, ConfigSpace, Floats, Ints

LARGEST_EXACT = 16  # cells: 30 of them have more subsets than memory takes


def neighbours(space: ConfigSpace, radius: float) -> Bools:
    """Return which configurations share a region: the balls of the space, as shape (n, n).

    Examples
    --------
    >>> from rrl import Knob
    >>> neighbours(ConfigSpace([Knob("inter_op", (1, 2, 3))]), 1).astype(int)
    array([[1, 1, 0],
           [1, 1, 1],
           [0, 1, 1]])
    """
    near = np.zeros((len(space), len(space)), dtype=bool)
    for index, row in enumerate(near):
        row[space.ball(index, radius)] = True
    return near


def harmonic_mean_cover(n: int) -> float:
    """Return n (1 + 1/2 + ... + 1/n), the mean draws until n equally likely coupons are drawn.

    References
    ----------
    Mitzenmacher and Upfal, *Probability and Computing* (2nd edition, 2017), section 2.4.1.

    Examples
    --------
    >>> harmonic_mean_cover(3), round(harmonic_mean_cover(1331))
    (5.5, 10344)
    """
    return float(n * (1 / np.arange(1, n + 1)).sum())


def _hit_probabilities(near: Bools, visiting: ArrayLike) -> tuple[Floats, Floats]:
    """Return a sign for every set of cells, and the probability that a step updates some of it.

    The shapes are (2^n - 1,) and (..., 2^n - 1). The sign of a set with an odd number of cells is
    1, and that of the others is -1: inclusion and exclusion.
    """
    n = near.shape[-1]
    if n > LARGEST_EXACT:
        raise ValueError(f"{n} cells have too many subsets: use cover_times above {LARGEST_EXACT}")
    subsets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
    touched = subsets.astype(float) @ near > 0  # (..., 2^n - 1, n): visits that update the set
    hits = (touched @ np.asarray(visiting, dtype=float)[..., None])[..., 0]
    return np.where(subsets.sum(axis=1) % 2, 1.0, -1.0), hits


def exact_mean_cover(near: Bools, visiting: ArrayLike) -> Floats:
    """Return the mean cover time (steps) of independent visits: shape (...).

    `near` has the regions, shape (..., n, n), and `visiting` the probability that a step visits
    each cell, shape (..., n). The mean is the sum over all sets of cells U of
    ``(-1)^(|U|+1) / P(a step updates some cell of U)``.

    Examples
    --------
    >>> exact_mean_cover(np.eye(6) > 0, np.full(6, 1 / 6)).round(9), harmonic_mean_cover(6)
    (np.float64(14.7), 14.7)
    """
    signs, hits = _hit_probabilities(near, visiting)
    return (signs / hits).sum(axis=-1)


def exact_cover_tail(near: Bools, visiting: ArrayLike, steps: ArrayLike) -> Floats:
    """Return the probability that a cover takes more than `steps` (shape (...)) independent steps.

    Examples
    --------
    >>> exact_cover_tail(np.eye(2) > 0, [0.5, 0.5], 3)  # the first coupon came up three times
    np.float64(0.25)
    """
    signs, hits = _hit_probabilities(near, visiting)
    missed = (1 - hits).clip(0) ** np.asarray(steps)[..., None]
    return (signs * missed).sum(axis=-1)


def cover_times(near: Bools, runs: int, rng: np.random.Generator) -> Ints:
    """Simulate cover times (steps) under uniform visits: shape (runs,).

    Raises
    ------
    ValueError
        If a cell lies in no region, so that it is never covered.

    Examples
    --------
    >>> cover_times(np.ones((6, 6)) > 0, 3, np.random.default_rng(0))
    array([1, 1, 1])
    """
    if not near.any(axis=0).all():
        raise ValueError("a cell lies in no region, not even its own: no cover ends")
    sizes = near.sum(axis=1)
    members = np.flatnonzero(near) % len(near)
    return _cover_times(members, np.r_[0, sizes.cumsum()], runs, rng)


@njit(cache=True)
def _cover_times(members: Ints, ends: Ints, runs: int, rng: np.random.Generator) -> Ints:
    n, times = len(ends) - 1, np.zeros(runs, dtype=np.int64)
    for run in range(runs):
        seen, missing = np.zeros(n, dtype=np.bool_), n
        while missing:
            times[run] += 1
            visited = int(rng.random() * n)
            for b in members[ends[visited] : ends[visited + 1]]:
                missing -= not seen[b]
                seen[b] = True
    return times


@njit(cache=True)
def cover_ends(near: Bools, visits: Ints) -> Ints:
    """Return the steps at which a cover ended, for given visits; steps count from 1.

    Examples
    --------
    >>> pairs = np.kron(np.eye(2), np.ones((2, 2))) > 0
    >>> cover_ends(pairs, np.array([0, 1, 2, 3, 0]))
    array([3, 5])
    """
    ends, number = np.empty(len(visits), dtype=np.int64), 0
    seen = np.zeros(len(near), dtype=np.bool_)
    for step in range(len(visits)):
        seen |= near[visits[step]]
        if seen.all():
            ends[number], number = step + 1, number + 1
            seen[:] = False
    return ends[:number]
