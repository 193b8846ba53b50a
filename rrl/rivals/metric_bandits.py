"""The learners of the theory of regions: the zooming algorithm and HOO.

Both assume that configurations that are near each other cost about the same, and both measure more
densely where the cost is low. They share three constants.

A reward is the negative logarithm of a cost relative to the first cost above 0 of the load level,
so its unit does not matter. It is kept within `MOST_LOG` of 0, because the theory's rewards are
bounded.

`lipschitz` bounds the change of the reward per unit of distance in the unit cube
(:class:`rrl.rivals.unit_cube.UnitCube`). Nobody knows it beforehand.

After n measurements, the confidence radius of a mean is `confidence` times
``sqrt(2 * log(horizon) / n)``; for zooming it is n + 1, as in the source. The sources have a
`confidence` of 1, for rewards between 0 and 1, whose standard deviation is at most 1/2. So for the
same certainty, `confidence` is twice the standard deviation that the noise of a log cost may have.
Both algorithms go on after the horizon.

The tuning study (:mod:`rrl.studies.standings`) chose a lower `confidence` than the theory asks for
at a noise of 7 %, because 300 episodes are few.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace
from rrl.rivals.search import SMALLEST_COST, Search, Searcher
from rrl.rivals.unit_cube import Floats, UnitCube

MOST_LOG = math.log(1000)
"""A cost counts as at most this many times the first one, and as at least this part of it."""


class _MetricBandit(Searcher):
    """A bandit whose regions are balls in a metric."""

    lipschitz: float

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        lipschitz: float | None = None,
        confidence: float = 0.05,
        horizon: int = 300,
    ) -> None:
        super().__init__(space, rng)
        lipschitz = self.lipschitz if lipschitz is None else lipschitz
        if not (lipschitz > 0 and confidence > 0 and horizon > 1):
            raise ValueError(
                "need lipschitz > 0, confidence > 0 and horizon > 1, "
                f"got {lipschitz}, {confidence} and {horizon}"
            )
        self.lipschitz, self.width = lipschitz, confidence * math.sqrt(2 * math.log(horizon))
        self.cube = UnitCube(space)

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        first = next((cost for _, cost in search.history if cost > 0), 0.0)
        search.cache.add(index, _reward(cost, first))


def _log(cost: float) -> float:
    return math.log(max(cost, SMALLEST_COST))


def _reward(cost: float, first: float) -> float:
    """Return the reward of a cost; `first` is the first one above 0, or 0 if there was none."""
    return min(max(_log(first or 1.0) - _log(cost), -MOST_LOG), MOST_LOG)


class Zooming(_MetricBandit):
    """The zooming algorithm: it measures active configurations, and activates what they leave bare.

    An active configuration covers all others within its confidence radius, which shrinks with each
    measurement. If a configuration is not covered, it is activated: one of them at random, and the
    first of a load level is what serves. The active one with the highest index is measured. The
    index is the mean reward plus twice the confidence radius.

    Parameters
    ----------
    space, rng
    lipschitz, confidence : float, optional
        See :mod:`rrl.rivals.metric_bandits`.
    horizon : int, optional
        The number of episodes in the confidence radius. The published algorithm is restarted with
        twice the horizon at its end; this one goes on.

    References
    ----------
    Kleinberg, Slivkins & Upfal, "Bandits and Experts in Metric Spaces", Journal of the ACM 66(4),
    2019; the radius is that of Slivkins, "Introduction to Multi-Armed Bandits", section 4.3, 2019.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", tuple(range(1, 10)))])
    >>> agent = Zooming(space, np.random.default_rng(0))
    >>> for _ in range(60):
    ...     chosen = agent.ask(10.0)
    ...     agent.tell(chosen, 1 + (chosen["threads"] - 6) ** 2)
    >>> agent.best(10.0)
    {'threads': 6}
    """

    lipschitz = 0.5

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"start": start}
        search.cache = _Cover(self.cube, self.lipschitz, self.width)

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if not search.history:
            return search.memory["start"]
        bare = np.flatnonzero(search.cache.covering == 0)
        return int(self.rng.choice(bare)) if len(bare) else search.cache.highest()


class _Cover:
    """The active configurations of a search, and how many of them cover each configuration."""

    def __init__(self, cube: UnitCube, lipschitz: float, width: float) -> None:
        self._cube, self._lipschitz, self._width = cube, lipschitz, width
        self._means: dict[int, tuple[int, float]] = {}  # number and mean of the rewards
        self.covering = np.zeros(len(cube.space), dtype=np.int64)

    def _radius(self, count: int) -> float:
        return self._width / math.sqrt(count + 1)

    def add(self, index: int, reward: float) -> None:
        """Add a measurement; it activates a configuration that is not active."""
        away = self._lipschitz * self._cube.distances(index)
        count, mean = self._means.get(index, (0, 0.0))
        if count:
            self.covering -= away <= self._radius(count)
        self._means[index] = (count + 1, mean + (reward - mean) / (count + 1))
        self.covering += away <= self._radius(count + 1)

    def highest(self) -> int:
        """Return the active configuration with the highest index; the first if some tie."""
        pairs = self._means.items()
        return max(pairs, key=lambda one: one[1][1] + 2 * self._radius(one[1][0]))[0]


class HOO(_MetricBandit):
    """Hierarchical optimistic optimisation: a tree of cells, refined where the reward may be high.

    A cell is a set of available configurations. Its children are the halves of its longest side
    in the unit cube; a cell with one configuration has none. The bound of a cell is its mean reward
    plus its confidence radius plus `lipschitz` times its diameter, and at most the higher bound of
    its children. A cell that was never entered has an infinite bound. An episode follows the
    highest bounds from the root to such a cell, or to a single configuration, and measures one of
    the cell at random. The first episode of a load level measures what serves.

    Parameters
    ----------
    space, rng
    lipschitz, confidence : float, optional
        See :mod:`rrl.rivals.metric_bandits`. The cell's own diameter replaces the source's bound
        ``nu * rho ** depth`` of it, because cells of a sparse grid may be much smaller.
    horizon : int, optional
        The number of episodes in the confidence radius, so a measurement changes only the bounds on
        its way to the root.

    References
    ----------
    Bubeck, Munos, Stoltz & Szepesvári, "X-Armed Bandits", Journal of Machine Learning Research 12,
    2011.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", tuple(range(1, 10)))])
    >>> agent = HOO(space, np.random.default_rng(0))
    >>> for _ in range(60):
    ...     chosen = agent.ask(10.0)
    ...     agent.tell(chosen, 1 + (chosen["threads"] - 6) ** 2)
    >>> agent.best(10.0)
    {'threads': 6}
    """

    lipschitz = 1.0

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"start": start}
        search.cache = _Tree(self.cube, self.lipschitz, self.width)

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if not search.history:
            return search.memory["start"]
        return int(self.rng.choice(search.cache.promising(self.rng)))


@dataclass
class _Cell:
    """A node of the tree; `diameter` is in units of reward, and `children` may still be missing."""

    members: NDArray[np.int64]
    diameter: float
    count: int = 0
    mean: float = 0.0
    bound: float = math.inf
    children: list[_Cell] = field(default_factory=list)


class _Tree:
    """The tree of cells; only cells that were entered have children."""

    def __init__(self, cube: UnitCube, lipschitz: float, width: float) -> None:
        self._points, self._lipschitz, self._width = cube.points, lipschitz, width
        self.root = self._cell(np.arange(len(cube.space)))

    def _cell(self, members: NDArray[np.int64]) -> _Cell:
        diagonal = float(np.linalg.norm(self._sides(members)))
        return _Cell(members, self._lipschitz * diagonal)

    def _sides(self, members: NDArray[np.int64]) -> Floats:
        return np.ptp(self._points[members], axis=0)

    def _halves(self, members: NDArray[np.int64]) -> list[_Cell]:
        sides = self._sides(members)
        column = self._points[members, int(sides.argmax())]
        low = column <= (column.min() + column.max()) / 2
        return [self._cell(members[low]), self._cell(members[~low])]

    def add(self, index: int, reward: float) -> None:
        """Add a measurement to all cells that contain it, down to the first that is new."""
        path, cell = [self.root], self.root
        while cell.count and cell.children:
            cell = next(c for c in cell.children if np.any(c.members == index))
            path.append(cell)
        if not cell.children and len(cell.members) > 1:
            cell.children = self._halves(cell.members)
        for cell in reversed(path):
            cell.count += 1
            cell.mean += (reward - cell.mean) / cell.count
            bound = cell.mean + self._width / math.sqrt(cell.count) + cell.diameter
            cell.bound = min(bound, max((c.bound for c in cell.children), default=math.inf))

    def promising(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the configurations of the cell to measure; a tie is broken at random."""
        cell = self.root
        while cell.children and cell.count:
            one, other = cell.children
            toss = one.bound == other.bound and rng.random() < 0.5
            cell = other if other.bound > one.bound or toss else one
        return cell.members
