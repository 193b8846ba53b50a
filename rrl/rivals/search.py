"""Base of the searchers that RRL is compared with: loads and measurements.

A :class:`Searcher` keeps one search per load level. A subclass chooses the next configuration.
It recommends the lowest observed mean cost, unless a subclass knows better by its model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrl.core.agent import LoadLevels, check_cost, check_load
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.tuning.defaults import serving_default

SMALLEST_COST = 1e-9
"""Before a logarithm is taken, this number replaces any smaller cost."""


@dataclass
class Search:
    """The search under one load level, with its measurements.

    Parameters
    ----------
    log_load : float
        This is the mean logarithm of the load level's loads, in requests per second.
    history : list of [int, float]
        Each pair is the number of a configuration and its cost. The pairs are in order of time.
    memory : dict
        What the search continues from, under names of its own.
    means : dict of int to (int, float)
        For each configuration, these are the number of its measurements and its mean cost.
    cache : any
        What a subclass keeps so as not to compute it again.
    """

    log_load: float
    history: list[list[Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    means: dict[int, tuple[int, float]] = field(default_factory=dict)
    cache: Any = None
    _best: int | None = None

    def add(self, index: int, cost: float) -> None:
        """Add a measurement."""
        self.history.append([index, cost])
        count, before = self.means.get(index, (0, 0.0))
        mean = before + (cost - before) / (count + 1)
        self.means[index] = (count + 1, mean)
        if self._best is None or self._best == index:
            if count == 0 or mean >= before:  # a lowest mean that falls is still the lowest
                means = self.means
                self._best = min(means, key=lambda other: means[other][1])
        elif mean < self.mean(self._best):
            self._best = index

    def mean(self, index: int) -> float:
        """Return the mean cost of a configuration; it is infinite without measurements."""
        return self.means[index][1] if index in self.means else math.inf

    @property
    def best(self) -> int:
        """The measured configuration with the lowest mean cost."""
        if self._best is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self._best


class Searcher:
    """A tuner with a separate search per load level, by default for the lowest mean cost.

    Loads are grouped as for RRL, see :class:`rrl.core.agent.LoadLevels`. The search at a new
    load level starts from the recommendation for the nearest one with measurements. If there is
    none, it starts from `start`.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
    start : configuration, optional
        This configuration serves before the tuning begins. By default it is what TensorFlow
        Serving would run, see :func:`rrl.tuning.defaults.serving_default`.
    """

    def __init__(
        self, space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
    ) -> None:
        self.space, self.rng = space, rng
        self.start = space.index(serving_default(space) if start is None else start)
        self.loads = LoadLevels()
        self.searches: list[Search] = []  # one per load level

    def begin(self, search: Search, start: int) -> None:
        """Prepare the memory of a new search; `start` is a good guess or served so far."""

    def choose(self, search: Search) -> int:
        """Return the number of the next configuration."""
        raise NotImplementedError

    def learn(self, search: Search, index: int, cost: float) -> None:
        """Learn from a measurement that `search` already contains."""

    def recommended(self, search: Search) -> int:
        """Return the number of the configuration to deploy; `search` has a measurement."""
        return search.best

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.ask`."""
        level = self.loads.enter(load)
        if level == len(self.searches):
            near = self._measured(self.loads.log_loads[level])
            self.searches.append(Search(self.loads.log_loads[level]))
            self.begin(self.searches[level], self.start if near is None else self.recommended(near))
        return self.space[self.choose(self.searches[level])]

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.core.agent.Agent.tell`."""
        if self.loads.current is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        self.loads.count()
        search = self.searches[self.loads.current]
        search.log_load = self.loads.log_loads[self.loads.current]
        search.add(index, cost)
        self.learn(search, index, cost)

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.best`; the answer is for the nearest measured load.

        Raises
        ------
        ValueError
            If `tell` was not called yet, or the load is not a positive number.
        """
        search = self._measured(math.log(check_load(load)))
        if search is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[self.recommended(search)]

    def _measured(self, log_load: float) -> Search | None:
        """Return the search at the nearest load level with measurements."""
        measured = [level for level, search in enumerate(self.searches) if search.history]
        near = self.loads.nearest(log_load, measured)
        return None if near is None else self.searches[near]
