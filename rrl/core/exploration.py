"""Boltzmann exploration: how likely each configuration is to be tried, and drawing one fast.

Cheap configurations are likely, dear ones are not, and the temperature says how much. The draw
goes through a sum tree (compiled with Numba), so its cost is the logarithm of the grid's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Temperature:
    """A temperature that halves every `half_life` episodes, down to `end`.

    It falls in steps, since each new value costs a pass over the whole table.

    Parameters
    ----------
    start, end : float
        Above 0, with ``start >= end``. At 0.01 a configuration that costs 1 % more than the best
        is e times less likely to be chosen.
    half_life : int
        Episodes, at least 1.

    Examples
    --------
    >>> [Temperature(0.04, 0.01, half_life=10)(episode) for episode in (0, 9, 10, 20, 500)]
    [0.04, 0.04, 0.02, 0.01, 0.01]
    """

    start: float = 0.02
    end: float = 0.005
    half_life: int = 50

    def __post_init__(self) -> None:
        if not 0 < self.end <= self.start < math.inf or self.half_life < 1:
            raise ValueError(f"need 0 < end <= start and half_life >= 1, got {self}")

    def __call__(self, episode: int) -> float:
        """Return the temperature of an episode, counted from 0."""
        return max(self.end, self.start * 0.5 ** min(episode // self.half_life, 1000))


def action_probabilities(values: Floats, temperature: float, floor: float = 0.0) -> Floats:
    """Boltzmann probabilities on the logarithm of the cost: p is proportional to Q^(-1/T).

    A cost twice as high is 2^(1/T) times less likely, so the unit of the cost does not matter.
    (The released code's exp(k/Q) depends on it, never ends at Q = 0 and fails below.)

    Parameters
    ----------
    values : ndarray, shape (n,)
        Expected costs, at least 0.
    temperature : float
        Above 0. At 0.01 a cost 1 % above the lowest is e times less likely.
    floor : float, optional
        Added to every cost. Needed only if costs can be 0.

    Returns
    -------
    ndarray, shape (n,)
        They add up to 1.

    Examples
    --------
    >>> action_probabilities(np.array([1.0, 2.0, 4.0]), temperature=1.0).round(3)
    array([0.571, 0.286, 0.143])
    >>> action_probabilities(np.array([0.0, 0.0]), temperature=0.01)
    array([0.5, 0.5])
    """
    shifted = values + floor
    if not shifted.any():
        return np.full(len(values), 1 / len(values))
    with np.errstate(divide="ignore"):  # log 0 is -inf: all the others get probability 0
        logs = np.log(shifted)
    if np.isinf(logs).any():
        logs = np.where(np.isinf(logs), 0.0, np.inf)
    weights = np.exp((logs.min() - logs) / temperature)
    return weights / weights.sum()


@njit(cache=True)
def fill_tree(tree: Floats, values: Floats, scale: tuple[float, float, float]) -> None:
    """Compute all leaves and sums of a sum tree; `scale` is (floor, reference, temperature).

    ``tree[1]`` is the root and node i has the children 2i and 2i + 1; the leaves start in the
    middle. A leaf is ``((Q + floor) / reference)^(-1/temperature)``. See :func:`draw`.
    """
    half = len(tree) // 2
    floor, reference, temperature = scale
    for c in range(len(values)):
        tree[half + c] = np.exp(-np.log((values[c] + floor) / reference) / temperature)
    for node in range(half - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]


@njit(cache=True)
def mend_tree(tree: Floats, values: Floats, ball: Ints, scale: tuple[float, float, float]) -> None:
    """Recompute the leaves of a sorted ball and the sums above them, level by level.

    The sums are added up afresh, never corrected by differences, so that a mended tree equals
    a filled one to the last bit.
    """
    half = len(tree) // 2
    floor, reference, temperature = scale
    nodes = ball + half
    for j in range(len(ball)):
        tree[nodes[j]] = np.exp(-np.log((values[ball[j]] + floor) / reference) / temperature)
    count = len(nodes)
    while nodes[0] > 1:
        kept = 0
        for j in range(count):
            parent = nodes[j] // 2
            if kept == 0 or nodes[kept - 1] != parent:
                tree[parent] = tree[2 * parent] + tree[2 * parent + 1]
                nodes[kept] = parent
                kept += 1
        count = kept


@njit(cache=True)
def draw(tree: Floats, uniform: float) -> int:
    """Return the leaf at which the running sum of weights passes `uniform` times the total.

    Examples
    --------
    >>> values, tree = np.array([2.0, 1.0, 4.0]), np.zeros(8)
    >>> fill_tree(tree, values, (0.0, 1.0, 1.0))
    >>> tree[4:]
    array([0.5 , 1.  , 0.25, 0.  ])
    >>> draw(tree, 0.2), draw(tree, 0.5), draw(tree, 0.9)
    (0, 1, 2)
    """
    half, node = len(tree) // 2, 1
    rest = uniform * tree[1]
    while node < half:
        node *= 2
        if rest >= tree[node] and tree[node + 1] > 0:  # rounding must not lead to a leaf of 0
            rest -= tree[node]
            node += 1
    return node - half
