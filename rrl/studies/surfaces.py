"""Made surfaces: tables of mean costs over three knobs, of a wanted roughness.

A kind of surface is a function of the knobs' positions, with random constants. It gives log costs
up to a factor, and :func:`made_surface` chooses this factor so that neighbours differ as much as
wanted (:func:`rrl.studies.roughness.roughness`). Not every draw can be that rough, because only
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

Agents are tuned on surfaces of the first three kinds and judged on those of the other five.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.studies.roughness import low_costs, one_step_pairs, roughness
from rrl.tuning.presets import paper_cpu

SIZE = 11
"""The values of each knob on the paper's grid, which has 1331 configurations."""

ATTEMPTS = 200
"""Draws of a surface before it is given up."""

HIGHEST = 100.0
"""The highest cost over the best: a client gives up after that."""

CLOSE, LEAST_PAIRS = 0.02, 3
"""The fraction by which a roughness may be off, and the pairs that it must rest on."""

AMPLITUDES = np.geomspace(1e-2, 1e3, 150)
"""Log costs of the worst configuration among which the factor is sought."""


@cache
def cube(size: int = SIZE) -> tuple[ConfigSpace, Ints]:
    """Return a grid of three thread knobs with `size` values each, and its pairs of neighbours.

    Examples
    --------
    >>> space, pairs = cube(4)
    >>> len(space), pairs.shape
    (64, (144, 2))
    """
    space = paper_cpu(size - 1)
    return space, one_step_pairs(space)


def _size(x: Floats) -> int:
    return round(len(x) ** (1 / 3))


def _bowl(x: Floats, rng: np.random.Generator) -> Floats:
    return (x - rng.uniform(1, 9, 3)) ** 2 @ rng.lognormal(0, 0.5, 3)


def _field(x: Floats, rng: np.random.Generator, length: float) -> Floats:
    """Return a random field that is smooth over `length` tenths of an axis."""
    size = _size(x)
    noise = rng.standard_normal((size, size, size))
    smooth = gaussian_filter(noise, length * size / SIZE, mode="nearest")
    at = np.rint(x * (size - 1) / 10).astype(int)
    return smooth[tuple(at.T)]


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
    bowl, field, pairs = _bowl(x, rng), _field(x, rng, 1.0), cube(_size(x))[1]
    steps = [np.sqrt(np.mean(np.diff(values[pairs], axis=1) ** 2)) for values in (bowl, field)]
    return bowl + 0.5 * steps[0] / steps[1] * field


_KINDS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "bowl": _bowl,
    "cone": lambda x, rng: np.sqrt(_bowl(x, rng)),
    "hills": lambda x, rng: _field(x, rng, 2.0),
    "valley": _valley,
    "basins": _basins,
    "threads": _threads,
    "ridge": _ridge,
    "rugged": _rugged,
}
TUNING_KINDS, JUDGING_KINDS = tuple(_KINDS)[:3], tuple(_KINDS)[3:]


@cache
def made_surface(kind: str, wanted: float, seed: int, size: int = SIZE) -> Floats:
    """Draw a surface of some kind and roughness on a :func:`cube`.

    Parameters
    ----------
    kind : str
        One of `TUNING_KINDS` or `JUDGING_KINDS`.
    wanted : float
        The fraction by which neighbours differ, see :func:`rrl.studies.roughness.roughness`.
    seed : int
    size : int, optional
        The number of values of each of the three knobs, at least 3.

    Returns
    -------
    ndarray, shape (size**3,)
        Costs, of which the lowest is 1. The array is shared and cannot be written.

    Raises
    ------
    ValueError
        If the grid is smaller, or no draw is that rough.

    Examples
    --------
    >>> cost = made_surface("bowl", 0.05, seed=1)
    >>> cost.shape, round(roughness(cost, cost, cube()[1]), 3)
    ((1331,), 0.05)
    >>> made_surface("rugged", 0.15, seed=1, size=4).shape
    (64,)
    """
    if size < 3:
        raise ValueError(f"a surface needs at least 3 values of each knob, got {size}")
    space, pairs = cube(size)
    x, number = space.positions * (10 / (size - 1)), tuple(_KINDS).index(kind)
    for attempt in range(ATTEMPTS):
        logs = _KINDS[kind](x, np.random.default_rng([seed, number, attempt]))
        cost = _scaled(logs - logs.min(), wanted, pairs)
        if cost is not None:
            cost.flags.writeable = False  # it is shared with the next caller
            return cost
    raise ValueError(
        f"no surface of the kind {kind!r} with {size} values of each knob has a roughness of "
        f"{wanted:g}"
    )


def _scaled(logs: Floats, wanted: float, pairs: Ints) -> Floats | None:
    """Return costs with the wanted roughness; None if no factor of the log costs gives it."""
    unit = logs / logs.max()

    def costs(amplitude: float) -> Floats:
        return np.exp(np.minimum(amplitude * unit, np.log(HIGHEST)))

    def rough(amplitude: float) -> float:
        cost = costs(amplitude)
        near = low_costs(cost)[pairs].all(axis=1).sum()
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
