"""A sum tree: draws from Boltzmann probabilities in the logarithm of the grid's size.

Its functions are compiled with Numba.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rrl.core.qtable import Floats, Ints


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
def mend_tree(tree: Floats, values: Floats, cells: Ints, scale: tuple[float, float, float]) -> None:
    """Recompute the leaves of a sorted region and the sums above them, level by level.

    The sums are added up again, never corrected by differences. So a mended tree equals a filled
    one to the last bit.
    """
    half = len(tree) // 2
    floor, reference, temperature = scale
    nodes = cells + half
    for j in range(len(cells)):
        tree[nodes[j]] = np.exp(-np.log((values[cells[j]] + floor) / reference) / temperature)
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
