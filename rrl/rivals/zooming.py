"""The zooming algorithm: a bandit whose regions are balls in a metric.

It assumes that configurations that are near each other cost about the same, and measures more
densely where the cost is low.

A reward is the negative logarithm of a cost relative to the first cost above 0 of the load level,
so its unit does not matter as long as costs are above
:data:`~rrl.rivals.search.SMALLEST_COST`. It is kept within `MOST_LOG` of 0, because the theory's
rewards are bounded.

`lipschitz` bounds the change of the reward per unit of distance in the unit cube
(:func:`rrl.rivals.grid.unit_cube`). Nobody knows it beforehand.

After n measurements, the confidence radius of a mean is `confidence` times
``sqrt(2 * log(HORIZON) / (n + 1))``. The source has a `confidence` of 1, for rewards between 0 and
1, whose standard deviation is at most 1/2. So for the same certainty, `confidence` is twice the
standard deviation that the noise of a log cost may have. The published algorithm is restarted with
twice the horizon at its end; this one goes on.
"""

from __future__ import annotations

import math

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.rivals.grid import unit_cube
from rrl.rivals.search import Search, Searcher, log_cost

HORIZON = 300  # episodes
MOST_LOG = math.log(1000)
"""A cost counts as at most this many times the first one, and as at least this part of it."""


class Zooming(Searcher):
    """The zooming algorithm: it measures active configurations, and activates what they leave bare.

    An active configuration covers all others within its confidence radius, which shrinks with each
    measurement. If a configuration is not covered, it is activated: one of them at random, and the
    first of a load level is what serves. The active one with the highest index is measured. The
    index is the mean reward plus twice the confidence radius.

    Parameters
    ----------
    space, rng, start
    lipschitz, confidence : float
        See :mod:`rrl.rivals.zooming`.

    References
    ----------
    Kleinberg, Slivkins & Upfal, "Bandits and Experts in Metric Spaces", Journal of the ACM 66(4),
    2019; the radius is that of Slivkins, "Introduction to Multi-Armed Bandits", section 4.3, 2019.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", tuple(range(1, 10)))])
    >>> agent = Zooming(space, np.random.default_rng(0), lipschitz=0.5, confidence=0.05)
    >>> for _ in range(60):
    ...     chosen = agent.ask(10.0)
    ...     agent.tell(chosen, 1 + (chosen["threads"] - 6) ** 2)
    >>> agent.best(10.0)
    {'threads': 6}
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        lipschitz: float,
        confidence: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        if not (lipschitz > 0 and confidence > 0):
            raise ValueError(f"need both above 0: lipschitz {lipschitz}, confidence {confidence}")
        self.lipschitz, self.width = lipschitz, confidence * math.sqrt(2 * math.log(HORIZON))
        self.cube = unit_cube(space)

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"cover": _Cover(self.cube, self.lipschitz, self.width)}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if not search.table.episodes:
            return search.start
        cover = search.memory["cover"]
        bare = np.flatnonzero(cover.covering == 0)
        return int(self.rng.choice(bare)) if len(bare) else cover.highest()

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        search.memory["cover"].add(index, cost)


def distances(cube: Floats, index: int) -> Floats:
    """Return the Euclidean distance from one configuration to each, shape (n,)."""
    away = cube - cube[index]
    return np.sqrt(np.einsum("ij,ij->i", away, away))


class _Cover:
    """The active configurations of a search, and how many of them cover each configuration."""

    def __init__(self, cube: Floats, lipschitz: float, width: float) -> None:
        self._cube, self._lipschitz, self._width = cube, lipschitz, width
        self._means: dict[int, tuple[int, float]] = {}  # number and mean of the rewards
        self._first = 0.0  # the first cost above 0
        self.covering = np.zeros(len(cube), dtype=np.int64)

    def _radius(self, count: int) -> float:
        return self._width / math.sqrt(count + 1)

    def add(self, index: int, cost: float) -> None:
        """Add a measurement; it activates a configuration that is not active."""
        self._first = self._first or cost
        reward = log_cost(self._first or 1.0) - log_cost(cost)
        reward = min(max(reward, -MOST_LOG), MOST_LOG)
        away = self._lipschitz * distances(self._cube, index)
        count, mean = self._means.get(index, (0, 0.0))
        if count:
            self.covering -= away <= self._radius(count)
        self._means[index] = (count + 1, mean + (reward - mean) / (count + 1))
        self.covering += away <= self._radius(count + 1)

    def highest(self) -> int:
        """Return the active configuration with the highest index; the first if some tie."""
        pairs = self._means.items()
        return max(pairs, key=lambda one: one[1][1] + 2 * self._radius(one[1][0]))[0]
