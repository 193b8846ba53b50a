"""Regions: which values a measurement updates, and which configurations may be tried next.

:class:`FixedRadius` is the paper's region, and :class:`SelectedRadius` its adaptive one: Bayesian
optimisation (:class:`RadiusSelection`) selects the radius while serving. :class:`Nearest` suits
spaces whose knobs differ much in their numbers of values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.qtable import QTable
from rrl.core.space import ConfigSpace, Floats, Ints


class Region:
    """Interface of regions. A subclass says at least which values a measurement updates.

    No region changes a table. A region that learns does so in :meth:`learn`.
    """

    def around(self, table: QTable, index: int) -> Ints:
        """Return the configurations whose values a measurement at `index` updates, sorted."""
        raise NotImplementedError

    def candidates(self, table: QTable) -> Ints:
        """Return the configurations that may be tried next, sorted; by default, these are all."""
        return np.arange(len(table.space))

    def learn(self, table: QTable, cost: float) -> None:
        """Take in the cost of an episode, after the table was updated."""


class FixedRadius(Region):
    """The paper's region: all configurations within a radius are updated, and any may be tried.

    Parameters
    ----------
    radius : float, optional
        In steps of a knob; it may be changed between episodes. A wide region finds a good
        configuration sooner, a narrow one settles on a better one.

    Raises
    ------
    ValueError
        If the radius is negative or NaN.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", (1, 2, 3)), Knob("b", (1, 2, 3))]))
    >>> FixedRadius(1.0).around(table, 0), FixedRadius(1.0).candidates(table)
    (array([0, 1, 3]), array([0, 1, 2, 3, 4, 5, 6, 7, 8]))
    """

    def __init__(self, radius: float = 1.0) -> None:
        if not radius >= 0:
            raise ValueError(f"radius must be a number that is at least 0, got {radius!r}")
        self.radius = float(radius)

    def around(self, table: QTable, index: int) -> Ints:
        """Return the configurations within the radius, sorted."""
        return table.space.ball(index, self.radius)


class Nearest(Region):
    """The nearest configurations are updated, and any may be tried.

    A radius in steps reaches no neighbour where a knob has thousands of values, and half the space
    where each knob has two. This region has about the same size on any space, see
    :meth:`rrl.core.space.ConfigSpace.nearest`.

    Parameters
    ----------
    count : int, optional
        The least number of configurations. On a full grid with as many steps for each knob, 1 plus
        twice the number of knobs is a radius of 1, apart from the border.

    Raises
    ------
    ValueError
        If the count is below 1.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> table = QTable(ConfigSpace([Knob("a", range(1000)), Knob("b", (0, 1))]))
    >>> Nearest(5).around(table, 6)
    array([ 2,  4,  6,  8, 10])
    """

    def __init__(self, count: int = 7) -> None:
        if count < 1:
            raise ValueError(f"a region needs at least 1 configuration, got {count!r}")
        self.count = count

    def around(self, table: QTable, index: int) -> Ints:
        """Return the nearest configurations, sorted."""
        return table.space.nearest(index, self.count)


# --- the radius that Bayesian optimisation selects ------------------------------------------------

ONSET = 20.0  # episodes that delay the fall of the theoretical radius


def theoretical_radius(start: float, episode: ArrayLike, dimensions: int) -> Floats:
    """Return the radius that theory recommends after some episodes.

    The error of a table that is learned from regions of radius rho is at most
    ``L rho + a rho^(-d/2)`` with ``a`` proportional to ``t^(-1/2)`` (see
    :mod:`rrl.theory.bounds`), which is least at a radius proportional to ``t^(-1/(d+2))``.

    Examples
    --------
    >>> theoretical_radius(3.0, [0, 100, 1000], dimensions=3).round(2)
    array([3.  , 2.1 , 1.37])
    """
    return start * (1 + np.asarray(episode) / ONSET) ** (-1 / (dimensions + 2))


class RadiusSelection:
    """Bayesian optimisation of a radius whose best value drifts.

    Which radius is best changes as the table fills, see :class:`FixedRadius`. The abstract of the
    paper names the answer: Bayesian optimisation of the region's size. The full text was not at
    hand, so all the rest is our choice:

    * What is observed: the mean, over a block of episodes, of ``log(cost / best known cost)``.
    * The model: a Gaussian process over ``log(1 + radius)`` and ``log(age + ONSET)``, so that an
      observation counts less as the run grows older; a window of the latest blocks is kept.
    * Its prior mean is lowest at the :func:`theoretical_radius`; the data correct it.
    * The next block gets the radius whose lower confidence bound is smallest.

    Blocks grow with the run, so the number of fits grows with its logarithm.

    Parameters
    ----------
    dimensions : int
        Number of knobs.
    start : float
        Radius of the first block.
    widest : float
        No radius is larger.

    Attributes
    ----------
    radius : float
        Of the present block.
    history : list of tuple of (int, float)
        First episode and radius of every block so far.

    References
    ----------
    Qin et al., IEEE Internet of Things Journal 7(7), 2020 (abstract: adaptive RRL); Srinivas et
    al., "Gaussian Process Optimization in the Bandit Setting", ICML 2010 (lower confidence bound).

    Examples
    --------
    >>> selection = RadiusSelection(dimensions=3, start=2.0, widest=6.0)
    >>> selection.due, selection.radius
    (10, 2.0)
    >>> selection.tell(np.full(10, 0.5)) < 2.0  # nothing unusual: it begins to fall
    True
    """

    block, growth = 10, 0.1  # episodes of the first blocks; later ones are this part of the run
    window = 30  # blocks that the model remembers
    amplitude = 0.1  # by how much, in log cost, a radius may differ from what the prior says
    slope = 0.3  # of the prior: cost of a radius that is off, per squared difference of log(1 + r)

    def __init__(self, dimensions: int, start: float, widest: float) -> None:
        self.dimensions, self.start, self.widest = dimensions, start, widest
        self.radius, self.episode = float(start), 0
        self.blocks: list[tuple[float, float, float, float]] = []  # radius, age, mean, its variance
        self.history: list[tuple[int, float]] = [(0, self.radius)]
        self._candidates = np.expm1(np.linspace(0, math.log1p(widest), 41))

    @property
    def due(self) -> int:
        """The number of episodes of the present block."""
        return max(self.block, int(self.growth * self.episode))

    def tell(self, excess: Floats) -> float:
        """Take in a block and return the radius of the next one.

        Parameters
        ----------
        excess : ndarray, shape (episodes,)
            Logarithm of each episode's cost over the best known cost; at least two.
        """
        n = len(excess)
        variance = float(np.var(excess, ddof=1)) / n + 0.01**2  # the least error
        mean = round(float(np.mean(excess)), 6)  # so that rounding in the costs changes nothing
        self.blocks.append((self.radius, self.episode + n / 2, mean, round(variance, 9)))
        del self.blocks[: -self.window]
        self.episode += n
        now = self.episode + self.due / 2
        self.radius = self.select(now)
        self.history.append((self.episode, self.radius))
        return self.radius

    def select(self, now: float) -> float:
        """Return the radius of the next block, whose middle is at an age of `now` episodes."""
        return float(self._candidates[np.argmin(self._bound(now))])

    def prior(self, radius: Floats, age: Floats | float) -> Floats:
        """Return the excess that is expected of each radius: 0 where theory recommends it."""
        ideal = theoretical_radius(self.start, age, self.dimensions)
        return self.slope * (np.log1p(radius) - np.log1p(ideal)) ** 2

    def _bound(self, now: float) -> Floats:
        """Lower confidence bound of each candidate's excess at an age of `now` episodes."""
        from skopt.learning import GaussianProcessRegressor
        from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

        def matern(width: float) -> Any:  # length scales in log(1 + radius) and log(age + ONSET)
            amplitude = ConstantKernel(self.amplitude**2, "fixed")
            return amplitude * Matern([width, 1.0], length_scale_bounds="fixed", nu=2.5)

        def inputs(radius: Floats, age: Floats) -> Floats:
            return np.column_stack([np.log1p(radius), np.log(age + ONSET)])

        radius, age, mean, variance = np.array(self.blocks).T
        fading = variance * (now + ONSET) / (age + ONSET)  # old blocks tell less
        kernel = matern(0.5) + matern(1e6)  # of the radius, and of time alone
        model = GaussianProcessRegressor(kernel, alpha=fading, optimizer=None)
        points = inputs(self._candidates, np.full(len(self._candidates), now))
        with _threads().limit(limits=1):  # so small a problem is ten times slower on several
            model.fit(inputs(radius, age), mean - mean.mean() - self.prior(radius, age))
            centre, sd = model.predict(points, return_std=True)
        return centre + self.prior(self._candidates, now) - sd


@cache  # to look for the libraries takes half as long as to select a radius
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # of the numerical libraries that are loaded by now


class SelectedRadius(Region):
    """The paper's adaptive region: a :class:`RadiusSelection` selects its radius.

    Each load level has its own radius, as it has its own table.

    Parameters
    ----------
    space : ConfigSpace
        The largest radius that may be selected is twice the first one, plus 1, but not more than
        the diameter of the space, unless the first one is.
    radius : float, optional
        The first radius. By default it is a twelfth of the diameter, between 1.25 and 6, and at
        most the diameter.
    selection : callable, optional
        What selects a radius: :class:`RadiusSelection`, or a class with the same parameters.

    Attributes
    ----------
    selections : dict of int to RadiusSelection
        The selection of the radius at each load level, by the number of the level.

    Raises
    ------
    ValueError
        If the first radius is negative, infinite or NaN.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> from rrl.core.rrl import adaptive
    >>> agent = adaptive(paper_cpu(), np.random.default_rng(7))
    >>> for _ in range(100):
    ...     configuration = agent.ask(load=14.0)
    ...     cost = 1 + sum((threads - 4) ** 2 for threads in configuration.values())
    ...     agent.tell(configuration, cost)
    >>> selection = agent.region.selections[0]
    >>> agent.best(load=14.0), selection.radius < selection.start
    ({'inter_op': 4, 'intra_op': 4, 'batch_threads': 4}, True)
    """

    def __init__(
        self,
        space: ConfigSpace,
        radius: float | None = None,
        selection: Callable[[int, float, float], RadiusSelection] = RadiusSelection,
    ) -> None:
        if radius is None:
            radius = min(max(1.25, space.diameter / 12), 6.0, space.diameter)
        if not 0 <= radius < math.inf:
            raise ValueError(f"the first radius must be a finite number from 0, got {radius!r}")
        widest = max(radius, min(2 * radius + 1, space.diameter))
        made = partial(selection, len(space.knobs), radius, widest)
        self.selections: defaultdict[int, RadiusSelection] = defaultdict(made)
        self._costs: defaultdict[int, list[float]] = defaultdict(list)  # of the present block

    def around(self, table: QTable, index: int) -> Ints:
        """Return the configurations within the radius of the present block, sorted."""
        return table.space.ball(index, self.selections[table.level].radius)

    def learn(self, table: QTable, cost: float) -> None:
        """Take in the cost of an episode. The end of a block selects a new radius."""
        selection, costs = self.selections[table.level], self._costs[table.level]
        costs.append(cost)
        if len(costs) >= selection.due:
            best, over = table.means[table.incumbent] + table.floor, np.array(costs) + table.floor
            selection.tell(np.log(over / best) if best > 0 else np.zeros(len(costs)))
            costs.clear()
