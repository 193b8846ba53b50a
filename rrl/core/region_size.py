"""The region's size, selected by Bayesian optimisation while serving.

A wide region finds a good configuration sooner, a narrow one settles on a better one, and which
is better changes as the table fills. The abstract of the paper names Bayesian optimisation of the
region's size as its answer; its full text was not at hand, so everything beyond that name is a
choice made here:

* What is observed: the mean, over a block of episodes, of ``log(cost / best known cost)``.
* The model: a Gaussian process over ``log(1 + radius)`` and ``log(age)``, so that an observation
  counts less as the run grows older; a window of the latest blocks is kept.
* Its prior mean lies lowest at the radius that theory recommends, ``t^(-1 / (d + 2))`` times a
  starting radius in d dimensions; the data correct it.
* The next block gets the radius whose lower confidence bound is smallest.

Blocks grow with the run, so the number of fits grows with its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

BLOCK = 10  # episodes of the first blocks; later ones are a tenth of the run's age
GROWTH = 0.1
WINDOW = 30  # blocks that the model remembers
ONSET = 20.0  # episodes after which the recommended radius begins to fall
AMPLITUDE = 0.1  # by how much, in log cost, a radius may differ from what the prior says
SLOPE = 0.3  # of the prior: cost of a radius that is off, per squared difference of log(1 + r)
WIDTH, AGEING = 0.5, 1.0  # length scales of the model, in log(1 + radius) and in log(age)
FLOOR = 0.01  # least standard error of an observation
CANDIDATES = 41


def recommended_radius(start: float, episode: ArrayLike, dimensions: int) -> Any:
    """Return the radius that theory recommends after some episodes.

    The error of a table that is learned from regions of radius rho is at most
    ``L rho + a rho^(-d/2)`` with ``a`` proportional to ``t^(-1/2)`` (see
    :mod:`rrl.theory.bounds`), which is least at a radius proportional to ``t^(-1/(d+2))``.

    Examples
    --------
    >>> recommended_radius(3.0, [0, 100, 1000], dimensions=3).round(2)
    array([3.  , 2.1 , 1.37])
    """
    return start * (1 + np.asarray(episode) / ONSET) ** (-1 / (dimensions + 2))


@cache
def _threads() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # of the numerical libraries that are loaded by now


class RegionSize:
    """Bayesian optimisation of a radius whose best value drifts.

    Parameters
    ----------
    dimensions : int
        Number of knobs.
    start : float
        Radius of the first block.
    widest : float
        No radius is larger.
    slope : float, optional
        Of the prior: the cost of a radius that is off, per squared difference of log(1 + radius).
        With 0 the prior is flat.

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
    >>> sizes = RegionSize(dimensions=3, start=2.0, widest=6.0)
    >>> sizes.due, sizes.radius
    (10, 2.0)
    >>> sizes.tell(np.full(10, 0.5)) < 2.0  # nothing unusual: it begins to fall
    True
    """

    def __init__(self, dimensions: int, start: float, widest: float, slope: float = SLOPE) -> None:
        if not 0 <= start <= widest < math.inf:
            raise ValueError(f"need 0 <= start <= widest, got {start!r} and {widest!r}")
        self.dimensions, self.start, self.widest, self.slope = dimensions, start, widest, slope
        self.radius, self.episode = float(start), 0
        self.blocks: list[tuple[float, float, float, float]] = []  # radius, age, mean, its variance
        self.history: list[tuple[int, float]] = [(0, self.radius)]
        self._candidates = np.expm1(np.linspace(0, math.log1p(widest), CANDIDATES))

    @property
    def due(self) -> int:
        """How many episodes the present block has."""
        return max(BLOCK, int(GROWTH * self.episode))

    def tell(self, excess: Floats) -> float:
        """Take in a block and return the radius of the next one.

        Parameters
        ----------
        excess : ndarray, shape (episodes,)
            Logarithm of each episode's cost over the best known cost; at least two.
        """
        n = len(excess)
        variance = float(np.var(excess, ddof=1)) / n + FLOOR**2
        mean = round(float(np.mean(excess)), 6)  # so that rounding in the costs changes nothing
        self.blocks.append((self.radius, self.episode + n / 2, mean, round(variance, 9)))
        del self.blocks[:-WINDOW]
        self.episode += n
        now = self.episode + self.due / 2
        self.radius = self.select(now)
        self.history.append((self.episode, self.radius))
        return self.radius

    def select(self, now: float) -> float:
        """Return the radius of the next block, whose middle is at an age of `now` episodes."""
        return float(self._candidates[np.argmin(self._bound(now))])

    def _prior(self, radius: Floats, age: Floats | float) -> Floats:
        ideal = recommended_radius(self.start, age, self.dimensions)
        return self.slope * (np.log1p(radius) - np.log1p(ideal)) ** 2

    def _bound(self, now: float) -> Floats:
        """Lower confidence bound of each candidate's excess at an age of `now` episodes."""
        from skopt.learning import GaussianProcessRegressor
        from skopt.learning.gaussian_process.kernels import ConstantKernel, Matern

        def part(scales: list[float]) -> Any:
            amplitude = ConstantKernel(AMPLITUDE**2, "fixed")
            return amplitude * Matern(scales, length_scale_bounds="fixed", nu=2.5)

        def inputs(radius: Floats, age: Floats) -> Floats:
            return np.column_stack([np.log1p(radius), np.log(age + ONSET)])

        radius, age, mean, variance = np.array(self.blocks).T
        fading = variance * (now + ONSET) / (age + ONSET)  # old blocks tell less
        kernel = part([WIDTH, AGEING]) + part([1e6, AGEING])  # the radius, and the mere passing
        model = GaussianProcessRegressor(kernel, alpha=fading, optimizer=None)
        points = inputs(self._candidates, np.full(CANDIDATES, now))
        with _threads().limit(limits=1):  # so small a problem is ten times slower on several
            model.fit(inputs(radius, age), mean - mean.mean() - self._prior(radius, age))
            centre, deviation = model.predict(points, return_std=True)
        return centre + self._prior(self._candidates, now) - deviation

    def state(self) -> dict[str, Any]:
        """Return everything that the next radius depends on, fit for JSON."""
        return {
            "radius": self.radius,
            "episode": self.episode,
            "blocks": [list(block) for block in self.blocks],
            "history": [list(entry) for entry in self.history],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from such a state."""
        self.radius, self.episode = float(state["radius"]), int(state["episode"])
        self.blocks = [(float(r), float(a), float(m), float(v)) for r, a, m, v in state["blocks"]]
        self.history = [(int(episode), float(radius)) for episode, radius in state["history"]]


class LevelSizes:
    """A size for each load level, as each has its own table, and the numbers of its present block.

    Parameters
    ----------
    make : callable
        It makes the :class:`RegionSize` of a load level.

    Attributes
    ----------
    sizes : dict of int to RegionSize
    """

    def __init__(self, make: Callable[[], RegionSize]) -> None:
        self._make = make
        self.sizes: dict[int, RegionSize] = {}
        self._blocks: dict[int, list[float]] = {}
        make()  # refuses bad settings now

    def at(self, level: int) -> RegionSize:
        """Return the size of a load level; the first call makes it."""
        if level not in self.sizes:
            self.sizes[level], self._blocks[level] = self._make(), []
        return self.sizes[level]

    def add(self, level: int, number: float, excess: Callable[[Floats], Floats]) -> None:
        """Take in one episode; at the end of a block, the excess of its numbers is told."""
        size, block = self.at(level), self._blocks[level]
        block.append(float(number))
        if len(block) >= size.due:
            size.tell(excess(np.array(block)))
            block.clear()

    def state(self) -> list[Any]:
        """Return what was learned and the present blocks, fit for JSON."""
        return [[k, size.state(), list(self._blocks[k])] for k, size in self.sizes.items()]

    def restore(self, state: list[Any]) -> None:
        """Continue from such a state."""
        sizes, blocks = {}, {}
        for level, saved, numbers in state:
            sizes[level], blocks[level] = self._make(), [float(number) for number in numbers]
            sizes[level].restore(saved)
        self.sizes, self._blocks = sizes, blocks
