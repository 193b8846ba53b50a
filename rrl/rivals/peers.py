"""Agents that use the optimisers of other packages: Optuna, from the extra ``peers``.

There is a separate search per load level. A point consists of integers: the ranks of the knobs'
values in the order of their positions. Optuna is told that a knob with strings for values is a
category. If a proposed configuration is not available, the nearest available one replaces it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.rivals.grid import Neighbours
from rrl.rivals.search import Search, Searcher
from rrl.support.errors import UsageError

SEEDS = 2**31 - 1
"""Optuna gets random seeds below this number."""


class Optuna(Searcher):
    """Tree-structured Parzen estimator, Optuna's default sampler.

    Parameters
    ----------
    space, rng, start
    initial : int
        The search first measures this many random configurations.

    References
    ----------
    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS'11; Akiba et al.,
    "Optuna", KDD'19.
    """

    def __init__(
        self,
        space: ConfigSpace,
        rng: np.random.Generator,
        *,
        initial: int,
        start: Configuration | None = None,
    ) -> None:
        super().__init__(space, rng, start=start)
        self.initial, self._neighbours = initial, Neighbours(space)
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        integer = optuna.distributions.IntDistribution
        choice = optuna.distributions.CategoricalDistribution
        self._ranges = {
            knob.name: choice(range(size)) if knob.categorical else integer(0, size - 1)
            for knob, size in zip(space.knobs, space.shape, strict=True)
            if size > 1
        }

    @property
    def _optuna(self) -> Any:
        """The package; an agent that kept it could not be copied."""
        try:
            return import_module("optuna")
        except ImportError as error:
            raise UsageError(f"optuna is not installed ({error}): pip install optuna") from None

    def begin(self, search: Search) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"study": self._optuna.create_study(), "trial": None, "asked": None}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        study, seed = search.memory["study"], int(self.rng.integers(SEEDS))
        study.sampler = self._optuna.samplers.TPESampler(n_startup_trials=self.initial, seed=seed)
        trial = study.ask(self._ranges)
        index = self._neighbours.nearest([trial.params.get(n, 0) for n in self.space.names])
        search.memory |= {"trial": trial, "asked": index}
        return index

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        study, asked = search.memory["study"], search.memory["asked"]
        search.memory["asked"] = None
        if asked == index:
            study.tell(search.memory["trial"], cost)
            return
        ranks = dict(zip(self.space.names, self._neighbours.ranks[index].tolist(), strict=True))
        params = {name: ranks[name] for name in self._ranges}
        other = self._optuna.trial.create_trial(
            params=params, distributions=self._ranges, value=cost
        )
        study.add_trial(other)
