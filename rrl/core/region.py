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
from rrl.core.space import ROUNDING, ConfigSpace, Floats, Ints


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

    def learn(self, table: QTable, index: int, cost: float) -> None:
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
    """Bayesian optimisation of the radius, by how well copies predict the next costs.

    A narrow region is better as soon as enough costs were measured near the best configurations.
    When that is depends on the noise of an episode, and on how much neighbours differ. The abstract
    of the paper names the answer: Bayesian optimisation of the region's size. The full text was not
    at hand, so all the rest is our choice:

    * What is observed: when a configuration is measured again, the mean of all earlier costs within
      a radius predicts its cost. Each measurement tells the error of *every* radius, whichever is
      in use. Older errors count less.
    * The model: a Gaussian process of the logarithm of the mean squared error, by the place of a
      radius in the list. Its prior mean is lowest at the :func:`theoretical_radius`.
    * The next block of episodes gets the radius whose expected error is lowest. No radius is used
      only to learn about it, because the errors of all are known.

    Blocks grow with the run, so the number of fits grows with its logarithm.

    Parameters
    ----------
    dimensions : int
        Number of knobs.
    start : float
        Radius of the first block.

    Attributes
    ----------
    radii : ndarray, shape (radii,)
        The radii whose errors are observed: 0, and four from half the first one to 1.4 times it.
    radius : float
        Of the present block.
    history : list of tuple of (int, float)
        First episode and radius of every block so far.

    References
    ----------
    Qin et al., IEEE Internet of Things Journal 7(7), 2020 (abstract: adaptive RRL).

    Examples
    --------
    >>> selection = RadiusSelection(dimensions=3, start=2.0)
    >>> selection.radii.round(2)
    array([0.  , 1.  , 1.41, 2.  , 2.83])
    >>> for _ in range(30):  # the costs of neighbours predict badly
    ...     selection.tell(np.array([0.1, 0.2, 0.3, 0.4, 0.8]))
    >>> selection.radius
    0.0
    """

    block, growth = 10, 0.1  # episodes of the first blocks; later ones are this part of the run
    memory = 0.5  # errors are remembered for about this part of the run
    least = 0.01  # of an error: exact costs, too, differ in their last digits
    slope = 1.0  # of the prior: log error per squared place that a radius is off in the list
    variance = 3.0  # of the logarithm of a mean of n squared errors, times n

    def __init__(self, dimensions: int, start: float) -> None:
        self.dimensions, self.start = dimensions, start
        self.radii = start * np.array([0.0, 0.5, 0.5**0.5, 1.0, 2**0.5])
        self.radius, self.episode = float(start), 0
        self.history: list[tuple[int, float]] = [(0, self.radius)]
        self._end = self.block  # of the present block
        self._squares, self._weight = np.zeros(len(self.radii)), 0.0  # a sum, and its weight

    def tell(self, errors: Floats | None) -> None:
        """Take in an episode. The end of a block selects a new radius.

        Parameters
        ----------
        errors : ndarray, shape (radii,), or None
            The logarithm of the episode's cost over what each of the :attr:`radii` has predicted.
            There is none if the configuration had not been measured before.
        """
        if errors is not None:
            kept = 1 - 1 / (self.memory * (self.episode + ONSET))
            self._squares = kept * self._squares + errors**2
            self._weight = kept * self._weight + 1
        self.episode += 1
        if self.episode == self._end:
            self._end += max(self.block, int(self.growth * self.episode))
            self.radius = self.select((self.episode + self._end) / 2)
            self.history.append((self.episode, self.radius))

    def select(self, age: float) -> float:
        """Return the radius of a block whose middle is at an age of so many episodes."""
        factor = float(theoretical_radius(1.0, age, self.dimensions))
        if self._weight < 1:  # nothing was observed
            return self.start * factor
        return float(self.radii[np.argmin(self._expected(factor))])

    def _expected(self, factor: float) -> Floats:
        """Return the expected log error of each radius; theory recommends `factor` times start."""
        from skopt.learning import GaussianProcessRegressor
        from skopt.learning.gaussian_process.kernels import Matern

        places = np.arange(len(self.radii))
        ideal = 3 + 2 * math.log2(factor)  # from one place to the next, a radius grows by 2^.5
        prior = self.slope * (places - ideal) ** 2
        errors = np.log(self._squares / self._weight + self.least**2)
        errors = (errors - errors.mean()).round(6)  # so rounding in the costs changes nothing
        model = GaussianProcessRegressor(
            Matern(1.0, length_scale_bounds="fixed", nu=2.5),
            alpha=self.variance / self._weight,
            optimizer=None,
        )
        with _threads().limit(limits=1):  # so small a problem is ten times slower on several
            model.fit(places[:, None], errors - prior + prior.mean())
            return prior + model.predict(places[:, None])


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
    radius : float, optional
        The first radius. By default it is an eighth of the diameter, between 1 and 6, and at most
        the diameter.
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
        selection: Callable[[int, float], RadiusSelection] = RadiusSelection,
    ) -> None:
        if radius is None:
            radius = min(max(1.0, space.diameter / 8), 6.0, space.diameter)
        if not 0 <= radius < math.inf:
            raise ValueError(f"the first radius must be a finite number from 0, got {radius!r}")
        made = partial(selection, len(space.knobs), radius)
        self.selections: defaultdict[int, RadiusSelection] = defaultdict(made)

    def around(self, table: QTable, index: int) -> Ints:
        """Return the configurations within the radius of the present block, sorted."""
        return table.space.ball(index, self.selections[table.level].radius)

    def learn(self, table: QTable, index: int, cost: float) -> None:
        """Take in the cost of an episode. The end of a block selects a new radius."""
        selection = self.selections[table.level]
        selection.tell(copying_errors(table, index, cost, selection.radii))


def copying_errors(table: QTable, index: int, cost: float, radii: Floats) -> Floats | None:
    """Return the errors with which earlier costs within each radius predict the last cost.

    A prediction is the mean of the earlier costs of all configurations within the radius. An error
    is the logarithm of the cost over the prediction.

    Parameters
    ----------
    table : QTable
        It has taken in the `cost` at `index` already.
    index : int
    cost : float
    radii : ndarray, shape (radii,)

    Returns
    -------
    ndarray, shape (radii,), or None
        None if nothing was measured at `index` before, or all costs are 0.

    Examples
    --------
    >>> from rrl import Knob
    >>> table = QTable(ConfigSpace([Knob("threads", (1, 2, 4))]))
    >>> for index, cost in ((0, 1.0), (1, 3.0), (0, 1.0)):
    ...     table.record(index, cost)
    >>> np.exp(copying_errors(table, 0, 1.0, np.array([0.0, 1.0]))).round(2)  # 1 / 1, and 1 / 2
    array([1. , 0.5])
    """
    if table.visits[index] < 2 or table.floor == 0:
        return None
    measured = table.measured
    away = np.linalg.norm(table.space.positions[measured] - table.space.positions[index], axis=1)
    visits = table.visits[measured] - (measured == index)
    within = away <= radii[:, None] * (1 + ROUNDING)
    sums = table.visits[measured] * table.means[measured]
    sums[measured == index] -= cost
    means = (within @ np.maximum(sums, 0.0)) / (within @ visits)
    return np.log((cost + table.floor) / (means + table.floor))
