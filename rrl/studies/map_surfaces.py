"""The surfaces of the map of regions: eight kinds of cost on the paper's grid, at any roughness.

A kind is a function of the knobs' positions, with random constants. It gives log costs up to a
factor, and :func:`map_surface` chooses this factor so that neighbours differ as much as wanted
(:func:`rrl.studies.roughness.roughness`). Not every draw can be that rough, because only
configurations below twice the best count. Then the surface is drawn again.

==========  ====================================================================================
kind        log cost, from 0 to 10 along each of three axes
==========  ====================================================================================
``bowl``    the squared distance from a point, with a weight per axis
``cone``    the distance from a point, with a weight per axis
``hills``   a smooth random field
``valley``  a bowl along a curved valley
``basins``  two bowls, of which one is deeper
``threads`` work that is shared by threads, and an overhead per thread
``ridge``   best where the product of the numbers of threads fits the machine
``rugged``  a bowl and a random field of half its steps
==========  ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace
from rrl.studies.roughness import Ints, one_step_pairs, roughness
from rrl.tuning.presets import paper_cpu

Floats = NDArray[np.float64]

ATTEMPTS = 200
"""Draws of a surface before it is given up."""

HIGHEST = 100.0
"""The highest cost over the best: a client gives up after that."""

CLOSE, LEAST_PAIRS = 0.02, 3
"""The fraction by which a roughness may be off, and the pairs that it must rest on."""

AMPLITUDES = np.geomspace(1e-2, 1e3, 150)
"""Log costs of the worst configuration among which the factor is sought."""


@cache
def paper_grid() -> tuple[ConfigSpace, Ints]:
    """Return the paper's grid of 1331 configurations, and its pairs of neighbours."""
    space = paper_cpu()
    return space, one_step_pairs(space)


def _bowl(x: Floats, rng: np.random.Generator) -> Floats:
    return (x - rng.uniform(1, 9, 3)) ** 2 @ rng.lognormal(0, 0.5, 3)


def _cone(x: Floats, rng: np.random.Generator) -> Floats:
    return np.sqrt(_bowl(x, rng))


def _field(x: Floats, rng: np.random.Generator, length: float) -> Floats:
    from scipy.ndimage import gaussian_filter, map_coordinates

    smooth = gaussian_filter(rng.standard_normal((11, 11, 11)), length, mode="nearest")
    return map_coordinates(smooth, x.T, order=1)


def _hills(x: Floats, rng: np.random.Generator) -> Floats:
    return _field(x, rng, 2.0)


def _valley(x: Floats, rng: np.random.Generator) -> Floats:
    along, across, third = (x - rng.uniform(2, 8, 3)).T
    return 0.1 * along**2 + (across - rng.uniform(0.05, 0.15) * along**2) ** 2 + 0.4 * third**2


def _basins(x: Floats, rng: np.random.Generator) -> Floats:
    deep, other = _bowl(x, rng), _bowl(x, rng)
    return np.minimum(deep, other + rng.uniform(0.05, 0.3) * deep.max())


def _threads(x: Floats, rng: np.random.Generator) -> Floats:
    work, overhead = rng.lognormal(0, 0.5, 3), rng.uniform(0.02, 0.1, 3)
    return np.log((1 / (1 + x)) @ work + x @ overhead)


def _ridge(x: Floats, rng: np.random.Generator) -> Floats:
    demand = np.log1p(x) @ rng.uniform(0.5, 1.5, 3)
    away = ((x - rng.uniform(2, 8, 3)) ** 2).sum(axis=1)
    return (demand - rng.uniform(0.4, 0.7) * demand.max()) ** 2 + 0.01 * away


def _rugged(x: Floats, rng: np.random.Generator) -> Floats:
    bowl, field, pairs = _bowl(x, rng), _field(x, rng, 1.0), paper_grid()[1]
    steps = [np.sqrt(np.mean(np.diff(values[pairs], axis=1) ** 2)) for values in (bowl, field)]
    return bowl + 0.5 * steps[0] / steps[1] * field


_KINDS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "bowl": _bowl,
    "cone": _cone,
    "hills": _hills,
    "valley": _valley,
    "basins": _basins,
    "threads": _threads,
    "ridge": _ridge,
    "rugged": _rugged,
}
TUNING_KINDS, JUDGING_KINDS = tuple(_KINDS)[:3], tuple(_KINDS)[3:]


@cache
def map_surface(kind: str, wanted: float, seed: int) -> Floats:
    """Draw a surface of some kind and roughness on the paper's grid.

    Parameters
    ----------
    kind : str
        One of `TUNING_KINDS` or `JUDGING_KINDS`.
    wanted : float
        The fraction by which neighbours differ, see :func:`rrl.studies.roughness.roughness`.
    seed : int

    Returns
    -------
    ndarray, shape (1331,)
        Costs, of which the lowest is 1.

    Raises
    ------
    ValueError
        If no draw is that rough.

    Examples
    --------
    >>> cost = map_surface("bowl", 0.05, seed=1)
    >>> cost.shape, round(roughness(cost, cost, paper_grid()[1]), 3)
    ((1331,), 0.05)
    """
    space, pairs = paper_grid()
    number = tuple(_KINDS).index(kind)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt])
        logs = _KINDS[kind](space.positions, rng)
        cost = _scaled(logs - logs.min(), wanted, pairs)
        if cost is not None:
            cost.flags.writeable = False  # it is shared with the next caller
            return cost
    raise ValueError(f"no surface of the kind {kind!r} has a roughness of {wanted:g}")


def _scaled(logs: Floats, wanted: float, pairs: Ints) -> Floats | None:
    """Return costs with the wanted roughness; None if no factor of the log costs gives it."""
    unit = logs / logs.max()

    def costs(amplitude: float) -> Floats:
        return np.exp(np.minimum(amplitude * unit, np.log(HIGHEST)))

    def rough(amplitude: float) -> float:
        cost = costs(amplitude)
        near = (cost[pairs] < 2).all(axis=1).sum()
        return roughness(cost, cost, pairs) if near >= LEAST_PAIRS else np.nan

    values = np.array([rough(amplitude) for amplitude in AMPLITUDES])  # it falls again at last
    for k in np.flatnonzero((values[:-1] < wanted) & (values[1:] >= wanted)):
        low, high = AMPLITUDES[k], AMPLITUDES[k + 1]
        for _ in range(30):
            middle = np.sqrt(low * high)
            low, high = (low, middle) if rough(middle) >= wanted else (middle, high)
        if abs(rough(high) / wanted - 1) <= CLOSE:
            return costs(high)
    return None
