"""Which level of the load an agent is at: estimates of the load are noisy, tables are few.

The gaps of 100 Poisson arrivals give their rate to within 10 %, so an estimate near the edge of a
level would make an agent flap between two tables. :class:`LoadLevels` averages the estimates,
starts afresh when one is too far off to be noise, and leaves a level only when the average does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from rrl.core.agent import check_load

MEMORY = 8  # estimates that the average remembers, so that it follows a slow drift
NOTICED = 3.0  # standard errors by which an estimate must be off to count as a change


class Place(NamedTuple):
    """Mean logarithm of the load since it last changed, from how many estimates, and the level."""

    mean: float
    count: int
    level: int


class LoadLevels:
    """Levels of the load, and which of them it is at now.

    Parameters
    ----------
    bins : float or sequence of float
        The ratio between the edges of a logarithmic scale (infinity: one level), or the edges
        themselves in requests per second, rising. Such edges are taken at their word: each
        estimate belongs where it falls.
    noise : float
        Relative standard error of an estimate; 0 takes each at its word.

    Raises
    ------
    ValueError
        If the edges do not rise or the noise is not a number that is at least 0.

    Examples
    --------
    >>> levels = LoadLevels(2.0, noise=0.1)  # edges at 1, 2, 4, 8, 16, ...
    >>> [levels.settle(load) for load in (7.7, 8.3, 7.5, 8.6, 14.0, 14.5)]
    [2, 2, 2, 2, 3, 3]
    >>> levels.place.count  # estimates since the change was noticed
    2
    """

    def __init__(self, bins: float | Sequence[float], noise: float = 0.1) -> None:
        if not 0 <= noise < math.inf:
            raise ValueError(f"load_noise must be a number that is at least 0, got {noise!r}")
        self.bins, self.noise = _check_bins(bins), noise
        if isinstance(self.bins, tuple):
            self.noise = 0.0
        else:
            self._width = math.log(self.bins)  # of a level, in log load
        self.place: Place | None = None

    def level(self, load: float) -> int:
        """Return the number of the level that `load` (requests/s) falls into."""
        load = check_load(load)
        if isinstance(self.bins, tuple):
            return int(np.searchsorted(self.bins, load, side="right"))
        return math.floor(math.log(load) / self._width)

    def settle(self, load: float) -> int:
        """Take in an estimate (requests/s) and return the level that the load is at."""
        self.place = self._next(load)
        return self.place.level

    def guess(self, load: float) -> int:
        """Return what :meth:`settle` would, and change nothing."""
        return self._next(load).level

    def _next(self, load: float) -> Place:
        x = math.log(check_load(load))
        if self.place is None or self.noise == 0:
            return Place(x, 1, self.level(load))
        mean, count, level = self.place
        if abs(x - mean) > NOTICED * self.noise:  # no noise: the load has changed
            mean, count = x, 0
        count += 1
        mean += (x - mean) / min(count, MEMORY)
        lowest = math.floor((mean - self.noise) / self._width)
        highest = math.floor((mean + self.noise) / self._width)
        if not lowest <= level <= highest:
            level = math.floor(mean / self._width)
        return Place(mean, count, level)

    def state(self) -> dict[str, Any] | None:
        """Return where the load is, fit for JSON."""
        return None if self.place is None else self.place._asdict()

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from such a state."""
        self.place = None if state is None else Place(**state)


def _check_bins(bins: float | Sequence[float]) -> float | tuple[float, ...]:
    if isinstance(bins, (int, float)):
        if not bins > 1:
            raise ValueError(f"the ratio of load_bins must exceed 1, got {bins!r}")
        return float(bins)
    edges = tuple(float(edge) for edge in bins)
    if not all(0 < a < b for a, b in pairwise((*edges, math.inf))):
        raise ValueError(f"the edges of load_bins must be positive, finite and rise, got {edges}")
    return edges
