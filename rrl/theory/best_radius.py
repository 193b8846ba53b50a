"""The best radius for a number of noisy measurements: it shrinks as they become more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ROUNDING
from rrl.theory.bound_checks import region_means

Floats = NDArray[np.float64]


def cone(side: int, d: int) -> tuple[Floats, Floats]:
    """Return a cone on a grid in [0, 1]^d and the distances of the grid's cells.

    The cost of a cell is its distance from the point (0.37, ..., 0.37). So its Lipschitz constant
    is 1.

    Returns
    -------
    cost : ndarray, shape (side^d,)
    distance : ndarray, shape (side^d, side^d)

    Examples
    --------
    >>> cost, distance = cone(3, 1)
    >>> cost.round(2).tolist(), distance[0].tolist()
    ([0.37, 0.13, 0.63], [0.0, 0.5, 1.0])
    """
    place = np.stack(np.meshgrid(*[np.linspace(0, 1, side)] * d), axis=-1).reshape(-1, d)
    distance = np.linalg.norm(place[:, None] - place[None], axis=-1)
    return np.linalg.norm(place - 0.37, axis=1), distance


def largest_errors(
    cost: Floats,
    distance: Floats,
    radii: Sequence[float] | Floats,
    visits: Sequence[int] | NDArray[np.int64],
    noise: float | Floats,
    tables: int,
    seed: int,
) -> Floats:
    """Return the largest error of means over regions after uniform visits with noise.

    Parameters
    ----------
    cost : ndarray, shape (n,)
    distance : ndarray, shape (n, n)
    radii : sequence of float
        These are in the unit of the distances.
    visits : sequence of int
        These are the numbers of visits.
    noise : float or ndarray, shape (n,)
        This is the standard deviation of a measurement.
    tables : int
        The number of independent tables that are simulated.
    seed : int
        All radii get the same visits and the same noise.

    Returns
    -------
    ndarray, shape (visits, radii, tables)

    Examples
    --------
    >>> cost, distance = cone(3, 1)
    >>> largest_errors(cost, distance, [0.0, 9.0], [1000], 0.0, 1, 0)[0, :, 0].round(1).tolist()
    [0.0, 0.3]
    """
    errors = np.empty((len(visits), len(radii), tables))
    for j, radius in enumerate(radii):
        region = distance <= radius * (1 + ROUNDING)
        for i, t in enumerate(visits):
            many = np.broadcast_to(cost, (tables, len(cost)))
            found = region_means(many, region, int(t), noise, np.random.default_rng([seed, i]))
            errors[i, j] = np.abs(found - cost).max(axis=1)
    return errors


def falling_radius(
    visits: NDArray[np.int64],
    radii: Floats,
    errors: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, tuple[float, float, float]]:
    """Find the best radius for each number of visits, and the exponent of its decay.

    Parameters
    ----------
    visits : ndarray of int, shape (n,)
    radii : ndarray, shape (m,)
    errors : ndarray, shape (n, m, tables)
        This is the largest error of each table.
    rng : numpy.random.Generator

    Returns
    -------
    best : ndarray, shape (n,)
    exponent, low, high : float
        The exponent is the least-squares slope of the logarithms. The others are the limits of its
        95 % bootstrap interval over the tables.

    Examples
    --------
    >>> visits, radii = np.array([10, 100, 1000]), np.array([1.0, 0.1, 0.01])
    >>> errors = np.abs(np.log(radii)[None, :, None] + np.log(visits / 10)[:, None, None])
    >>> best, (exponent, *_) = falling_radius(visits, radii, errors, np.random.default_rng(0))
    >>> best.tolist(), round(exponent, 3)
    ([1.0, 0.1, 0.01], -1.0)
    """
    logs = np.log(visits) - np.log(visits).mean()
    best = radii[errors.mean(axis=2).argmin(axis=1)]
    drawn = rng.integers(errors.shape[2], size=(500, errors.shape[2]))
    again = radii[errors[:, :, drawn].mean(axis=-1).argmin(axis=1)]
    slope, slopes = (logs @ np.log(r) / (logs**2).sum() for r in (best, again))
    low, high = np.quantile(slopes, (0.025, 0.975))
    return best, (float(slope), float(low), float(high))
