"""Three spaces that are made on purpose, because the recorded grids are complete and ordered.

Each has a table of mean costs, which follows from a fixed seed. A region must cope with a knob
whose values have no order, with combinations that are not valid, and with a space of which most is
missing.

==================  ================================================================
name                space
==================  ================================================================
``made-category``   a category of 6 values and two ordered knobs of 8 values
``made-binary``     8 binary knobs; a random half of the 256 combinations is invalid
``made-sparse``     6 ordered knobs of 5 values; a random tenth of the 15,625 exists
==================  ================================================================
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace

NOISE = 0.1
"""The coefficient of variation of an episode's cost on these spaces."""

Costs = NDArray[np.float64]


def _category(rng: np.random.Generator) -> tuple[ConfigSpace, Costs]:
    """Each value of the category has its own best numbers of threads, and its own factor."""
    knobs = [Knob("policy", tuple("abcdef")), Knob("threads", range(8)), Knob("batch", range(8))]
    space = ConfigSpace(knobs)
    best = rng.uniform(1, 6, 2) + rng.normal(0, 1, (6, 2))
    factor, curvature = rng.normal(0, 0.3, 6), rng.uniform(0.02, 0.08, 2)
    policy, *ordered = space.value_indices.T
    away = np.stack(ordered, axis=1) - best[policy]
    return space, np.exp(factor[policy] + away**2 @ curvature)


def _binary(rng: np.random.Generator) -> tuple[ConfigSpace, Costs]:
    """Each knob has an effect, and each pair of knobs has one."""
    valid = np.zeros(256, dtype=np.bool_)
    valid[rng.permutation(256)[:128]] = True
    knobs = [Knob(f"option_{number}", (0, 1)) for number in range(8)]
    space = ConfigSpace(knobs, valid.reshape((2,) * 8))
    x = space.value_indices.astype(float)
    pairs = np.triu(rng.normal(0, 0.15, (8, 8)), 1)
    return space, np.exp(x @ rng.normal(0, 0.25, 8) + np.einsum("ni,ij,nj->n", x, pairs, x))


def _sparse(rng: np.random.Generator) -> tuple[ConfigSpace, Costs]:
    """A bowl whose axes are no knobs, and a little roughness; some knobs hardly matter."""
    exists = np.zeros(5**6, dtype=np.bool_)
    exists[rng.permutation(5**6)[: 5**6 // 10]] = True
    space = ConfigSpace([Knob(name, range(5)) for name in "abcdef"], exists.reshape((5,) * 6))
    away = space.value_indices - rng.uniform(0.5, 3.5, 6)
    curvature = rng.lognormal(np.log(0.03), 1.0, 6)
    bent = np.diag(np.sqrt(curvature)) @ (np.eye(6) + np.triu(rng.normal(0, 0.2, (6, 6)), 1))
    rough = rng.normal(0, 0.03, len(space))
    return space, np.exp(((away @ bent.T) ** 2).sum(axis=1) + rough)


_MAKERS: dict[str, Callable[[np.random.Generator], tuple[ConfigSpace, Costs]]] = {
    "made-category": _category,
    "made-binary": _binary,
    "made-sparse": _sparse,
}
MADE = tuple(_MAKERS)


def made_space(name: str, seed: int = 0) -> tuple[ConfigSpace, Costs]:
    """Make a space and the mean cost of each of its configurations.

    Parameters
    ----------
    name : str
        One of `MADE`.
    seed : int, optional
        Another seed makes another space of the same kind.

    Returns
    -------
    space : ConfigSpace
    cost : ndarray, shape (configurations,)
        The lowest is 1.

    Examples
    --------
    >>> space, cost = made_space("made-binary")
    >>> len(space), cost.min()
    (128, np.float64(1.0))
    """
    space, cost = _MAKERS[name](np.random.default_rng(seed))
    return space, cost / cost.min()
