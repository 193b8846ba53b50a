"""Bayesian optimisation with a Gaussian process over the whole grid, and the model that it uses.

The model sees a configuration in the unit cube (:func:`rrl.rivals.grid.unit_cube`). It is of
the logarithms of the costs, minus their mean and divided by their standard deviation. It is the
Gaussian process of :mod:`rrl.extension.gaussian_process`, and its nugget is the noise of an
episode. The hyperparameters are fitted after 4, 7, 11, 17, ... measurements.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.extension.expected_saving import expected_improvement
from rrl.extension.gaussian_process import GaussianProcess, Hyperparameters, fit_hyperparameters
from rrl.extension.learned_similarity import fit_is_due, log_costs
from rrl.rivals.grid import Neighbours, unit_cube
from rrl.rivals.search import Search, Searcher

FIRST_FIT = 4  # measurements after which the hyperparameters are fitted for the first time
NOISE = 0.1  # expected noise, as a fraction of the standard deviation of all log costs
MOST = 2000  # random candidates of a decision in a larger space, beside the measured configurations
JITTER = 1e-6  # added to the variance of a point, so that repeated points can be factorised


class Surrogate:
    """The Gaussian process of the measurements that it was told.

    Parameters
    ----------
    cube : ndarray, shape (configurations, columns)
        See :func:`rrl.rivals.grid.unit_cube`.
    length : float
        This is the expected length scale, as a fraction of a knob's range.

    Attributes
    ----------
    measured : ndarray of int
        The indices of the measured configurations, sorted, each once.
    """

    def __init__(self, cube: Floats, length: float) -> None:
        self._cube, self._told = cube, list[tuple[int, float]]()
        self._prior = Hyperparameters(np.full(cube.shape[1], length), 1.0, NOISE)
        self.hyperparameters = self._prior

    def tell(self, index: int, cost: float) -> None:
        """Take in a measurement; if it is time, fit the hyperparameters."""
        self._told.append((index, cost))
        indices, costs = map(np.array, zip(*self._told, strict=True))
        self.measured = np.unique(indices)
        logs, variance = log_costs(costs), np.full(len(costs), JITTER)
        self._centre, self._scale = logs.mean(), logs.std() or 1.0
        standard = (logs - self._centre) / self._scale
        self._process = partial(GaussianProcess, self._cube[indices], standard, variance)
        if fit_is_due(len(self._told), FIRST_FIT):
            start, prior = self.hyperparameters, self._prior
            self.hyperparameters = fit_hyperparameters(self._log_likelihood, start, prior)

    def _log_likelihood(self, hyperparameters: Hyperparameters) -> float:
        return self._process(hyperparameters).log_likelihood

    def posterior(self, indices: Ints) -> tuple[Floats, Floats]:
        """Return posterior mean and sd of standardised log costs, without an episode's noise."""
        mean, sd = self._process(self.hyperparameters).posterior(self._cube[indices])
        return mean, np.sqrt(np.maximum(sd**2 - self.hyperparameters.nugget**2, JITTER))

    def costs(self) -> tuple[Floats, Floats]:
        """Return what the measured configurations are expected to cost, and sds as fractions."""
        mean, sd = self.posterior(self.measured)
        return np.exp(self._centre + self._scale * mean), self._scale * sd


class GPEI(Searcher):
    """A Gaussian process with expected improvement over the whole grid.

    The improvement is over the lowest posterior mean of what was measured, because the lowest cost
    itself is partly luck. What to deploy follows from the posterior, too. A configuration may be
    measured again.

    Parameters
    ----------
    space, rng, start
    initial : int
        The search first measures what serves, and then a Latin hypercube of this many less one.
    length : float
        This is the expected length scale, as a fraction of a knob's range.

    Raises
    ------
    ValueError
        If a number is out of range.

    References
    ----------
    Jones, Schonlau & Welch, "Efficient Global Optimization of Expensive Black-Box Functions",
    Journal of Global Optimization 13, 1998; Snoek, Larochelle & Adams, "Practical Bayesian
    Optimization of Machine Learning Algorithms", NIPS'12; the lowest mean: Picheny, Wagner &
    Ginsbourger, Structural and Multidisciplinary Optimization 48, 2013.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("threads", tuple(range(1, 30)))])
    >>> agent = GPEI(space, np.random.default_rng(0), initial=5, length=0.5)
    >>> for _ in range(12):
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
        initial: int,
        length: float,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        if initial < 1 or not length > 0:
            raise ValueError(f"need initial >= 1 and length > 0, got {initial} and {length}")
        self.initial, self.length = initial, length
        self.cube, self._neighbours = unit_cube(space), Neighbours(space)

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        drawn = latin_hypercube(self._neighbours, self.initial - 1, self.rng)
        search.memory = {"model": Surrogate(self.cube, self.length)}
        search.todo = [search.start, *drawn]

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        known = search.memory["model"]
        candidates = np.arange(len(self.space))
        if len(candidates) > MOST:
            drawn = self.rng.choice(len(candidates), MOST, replace=False)
            candidates = np.union1d(drawn, known.measured)
        mean, sd = known.posterior(candidates)
        best = float(mean[np.isin(candidates, known.measured)].min())
        gain = expected_improvement(mean - best, sd)
        if not gain.max() > 0:  # all are too small for a float; the order of z is theirs
            gain = (best - mean) / sd
        return int(candidates[gain.argmax()])

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`; the table gets the posterior of what was measured."""
        known, table = search.memory["model"], search.table
        known.tell(index, cost)
        table.values[known.measured], table.sds[known.measured] = known.costs()


def latin_hypercube(neighbours: Neighbours, count: int, rng: np.random.Generator) -> list[int]:
    """Return the indices of `count` configurations that spread over the values of every knob.

    Where a combination is missing, the nearest available one replaces it.

    References
    ----------
    McKay, Beckman & Conover, "A Comparison of Three Methods for Selecting Values of Input
    Variables", Technometrics 21, 1979.

    Examples
    --------
    >>> from rrl import Knob
    >>> space = ConfigSpace([Knob("a", (1, 2, 4)), Knob("b", (0, 5, 7))])
    >>> drawn = latin_hypercube(Neighbours(space), 3, np.random.default_rng(0))
    >>> [sorted(space[index][name] for index in drawn) for name in "ab"]
    [[1, 2, 4], [0, 5, 7]]
    """
    ranks: list[Any] = []
    for size in neighbours.space.shape:
        places = (rng.permutation(count) + rng.random(count)) / count
        ranks.append((places * size).astype(int))
    return [neighbours.nearest(list(map(int, point))) for point in zip(*ranks, strict=True)]
