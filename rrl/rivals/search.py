"""Base of the searchers that RRL is compared with: loads and measurements.

A :class:`Searcher` keeps one search per load level, and a subclass chooses the next configuration.
What to deploy follows from the rule of the RRL agents (:func:`rrl.core.rrl.deploy`). The rule reads
the means of the measurements, or what a subclass expects by its model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.qtable import QTable, Tables
from rrl.core.rrl import deploy
from rrl.core.space import ConfigSpace
from rrl.tuning.defaults import serving_default

SMALLEST_COST = 1e-9
"""Before a logarithm is taken, this number replaces any smaller cost."""


def log_cost(cost: float) -> float:
    """Return the logarithm of a cost, or that of `SMALLEST_COST` if the cost is smaller."""
    return math.log(max(cost, SMALLEST_COST))


@dataclass
class Search:
    """The search under one load level, with its measurements.

    Parameters
    ----------
    table : QTable
        The measurements, and what to deploy.
    start : int
        The index of a good guess, or of what has served so far.
    todo : list of int
        The indices of the configurations that a plan still measures, in their order. They serve
        before anything is chosen. A measurement takes its configuration from the list, whoever
        chose it.
    memory : dict
        What the search continues from, under names of its own.
    """

    table: QTable
    start: int
    todo: list[int] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)

    def mean(self, index: int) -> float:
        """Return the mean cost of a configuration; it is infinite without measurements."""
        return self.table.means.item(index) if self.table.visits[index] else math.inf

    @property
    def lowest(self) -> int:
        """The measured configuration with the lowest mean cost."""
        measured = self.table.measured
        return int(measured[self.table.means[measured].argmin()])


class Searcher:
    """A tuner with a separate search per load level.

    Loads are grouped as for RRL, see :class:`rrl.core.qtable.Tables`. The search at a new
    load level starts from what the nearest one with measurements deploys. If there is none, it
    starts from the `start`.

    Parameters
    ----------
    space : ConfigSpace
    rng : numpy.random.Generator
    start : configuration, optional
        The configuration that serves now. It serves first, and each new load level first serves
        what its search starts from. If it is not given, it is what TensorFlow Serving would run
        (:func:`rrl.tuning.defaults.serving_default`), and the search chooses what serves first.

    Raises
    ------
    ValueError
        If the start is not in the space.
    """

    def __init__(
        self, space: ConfigSpace, rng: np.random.Generator, *, start: Configuration | None = None
    ) -> None:
        self.space, self.rng = space, rng
        self.start = space.index(serving_default(space) if start is None else start)
        self._serves_start = start is not None
        self.tables = Tables(space)
        self.searches: list[Search] = []  # one per load level

    def begin(self, search: Search) -> None:
        """Prepare the plan and the memory of a new search."""

    def choose(self, search: Search) -> int:
        """Return the index of the next configuration, when no plan is left."""
        raise NotImplementedError

    def learn(self, search: Search, index: int, cost: float) -> None:
        """Learn from a measurement that `search` already contains.

        A model may write what it expects into the table: values with their sds, as fractions.
        """

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.tuning.loop.Agent.ask`."""
        table = self.tables.at(load)
        if table.level == len(self.searches):
            known = None if table.near is None else table.near.incumbent
            self.searches.append(Search(table, self.start if known is None else known))
            self.begin(self.searches[-1])
        search = self.searches[table.level]
        if self._serves_start and not table.episodes:
            return self.space[search.start]
        return self.space[search.todo[0] if search.todo else self.choose(search)]

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.tuning.loop.Agent.tell`."""
        table, index, cost = self.tables.checked(configuration, cost)
        search = self.searches[table.level]
        table.record(index, cost)
        if index in search.todo:
            search.todo.remove(index)
        self.learn(search, index, cost)
        table.incumbent = deploy(table)

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.tuning.loop.Agent.best`."""
        return self.space[self.tables.deployed(load)]
