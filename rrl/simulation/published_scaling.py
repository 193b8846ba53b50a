"""How InceptionV3 speeds up with intra-op threads on many cores: published times, and their fit.

Two cores cannot show how well an operation splits over ten. These times can. They are the medians
of single requests (batches of one) of Inception v3 on a server with 16 cores, with 1 to 12
intra-op threads of PyTorch. PyTorch splits an operation in the same way as TensorFlow's intra-op
pool does, so the fraction of the work that can be split carries over. The absolute times do not.

Source: measurements of the project Packrat (github.com/msr-fiddle/packrat, branch gh-pages,
inception, pytorch-granular).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rrl.simulation.service_model import Machine, Model, batch_speed

_MILLISECONDS = (77.6, 44.1, 32.1, 26.1, 22.6, 20.1, 18.6, 17.5, 18.0, 17.3, 16.9, 16.1)
TIMES_S = np.array(_MILLISECONDS) / 1000
"""Seconds per request with 1, 2, ... 12 threads, shape (12,)."""

CORES = 16


def service_times(item: float, parallel: float, machine: Machine, most: int) -> NDArray[np.float64]:
    """Return the seconds of a lone batch of one request with 1, 2, ... `most` threads.

    Parameters
    ----------
    item : float
        Core-seconds of work of the request.
    parallel : float
        Fraction of the work that can be split, from 0 to 1.
    machine : Machine
        The machine; nothing else runs on it.
    most : int
        Largest number of intra-op threads.

    Returns
    -------
    ndarray, shape (most,)

    Examples
    --------
    >>> service_times(0.1, 0.8, Machine("4 cores", cores=4), 4).round(3)
    array([0.1  , 0.06 , 0.047, 0.04 ])
    """
    model = Model("one batch", item=item, parallel=parallel)
    threads = np.arange(1, most + 1)
    return item / batch_speed(model, machine, np.ones_like(threads), threads, rate=0.0)[:, 0]


def fit_parallel(machine: Machine) -> tuple[float, float]:
    """Fit the work (core-seconds) and its parallel fraction to the published times.

    Parameters
    ----------
    machine : Machine
        The assumptions on spinning and contention. Its number of cores is replaced by 16.

    Returns
    -------
    item, parallel : float
        The fit has the least squares of the logarithms.

    Examples
    --------
    With the contention that is assumed for ten cores, nine tenths of the work can be split.

    >>> item, parallel = fit_parallel(Machine("ten", cores=10, spin=0.18, contention=0.03))
    >>> print(f"{1000 * item:.0f} ms, {parallel:.2f}")
    76 ms, 0.90
    """
    from scipy.optimize import least_squares

    wide = replace(machine, cores=CORES)

    def residuals(point: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log(service_times(point[0], point[1], wide, len(TIMES_S)) / TIMES_S)

    found = least_squares(residuals, [TIMES_S[0], 0.5], bounds=([1e-3, 0.0], [1.0, 1.0]))
    return float(found.x[0]), float(found.x[1])
