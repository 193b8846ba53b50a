"""Agents that use the optimisers of other packages: Optuna and SMAC.

Each agent runs a separate search per load level. A point consists of integers: the ranks of the
knobs' values in the order of their positions. The packages are told that a knob with strings for
values is a category. If a proposed configuration is not available, the nearest available one
replaces it. Both packages are in the extra ``peers``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from rrl.core.space import ConfigSpace
from rrl.rivals.neighbours import Neighbours
from rrl.rivals.search import SMALLEST_COST, Search, Searcher
from rrl.support.errors import UsageError

SEEDS = 2**31 - 1
"""The packages get random seeds below this number."""

CHALLENGERS = 1000  # SMAC's default of 10,000 candidates per decision exceeds these grids


def _load(module: str, package: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(f"{package} is not installed ({error}): pip install {package}") from None


class _Peer(Searcher):
    """A searcher over integers from 0, one per knob that has more than one value."""

    def __init__(self, space: ConfigSpace, rng: np.random.Generator) -> None:
        super().__init__(space, rng)
        self._neighbours = Neighbours(space)
        self._free = [k for k, size in enumerate(space.shape) if size > 1]
        self._sizes = {space.names[k]: space.shape[k] for k in self._free}
        self._categories = {knob.name for knob in space.knobs if knob.categorical}

    def _point(self, index: int) -> list[int]:
        ranks = self._neighbours.ranks(index)
        return [ranks[k] for k in self._free]

    def _index(self, point: list[int]) -> int:
        ranks = [0] * len(self.space.shape)
        for k, rank in zip(self._free, point, strict=True):
            ranks[k] = int(rank)
        return self._neighbours.nearest(ranks)

    def _seed(self) -> int:
        return int(self.rng.integers(SEEDS))


class Optuna(_Peer):
    """Tree-structured Parzen estimator, Optuna's default sampler.

    Parameters
    ----------
    space, rng
    initial : int, optional
        The search first measures this many random configurations.

    References
    ----------
    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS'11; Akiba et al.,
    "Optuna", KDD'19.
    """

    def __init__(self, space: ConfigSpace, rng: np.random.Generator, *, initial: int = 10) -> None:
        super().__init__(space, rng)
        self.initial = initial
        self._optuna = _load("optuna", "optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        integer = self._optuna.distributions.IntDistribution
        choice = self._optuna.distributions.CategoricalDistribution
        self._ranges = {
            name: choice(range(size)) if name in self._categories else integer(0, size - 1)
            for name, size in self._sizes.items()
        }

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        search.memory = {"study": self._optuna.create_study(), "trial": None, "asked": None}

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        study, seed = search.memory["study"], self._seed()
        study.sampler = self._optuna.samplers.TPESampler(n_startup_trials=self.initial, seed=seed)
        trial = study.ask(self._ranges)
        index = self._index([trial.params[name] for name in self._ranges])
        search.memory |= {"trial": trial, "asked": index}
        return index

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        study, asked = search.memory["study"], search.memory["asked"]
        search.memory["asked"] = None
        if asked == index:
            study.tell(search.memory["trial"], cost)
            return
        params = dict(zip(self._ranges, self._point(index), strict=True))
        other = self._optuna.trial.create_trial(
            params=params, distributions=self._ranges, value=cost
        )
        study.add_trial(other)


class SMAC(_Peer):
    """SMAC3 for noisy costs: a random forest, expected improvement and racing of incumbents.

    A small grid may be exhausted: SMAC has measured all of it as often as it wants to. Then the
    configuration with the lowest mean cost serves.

    Parameters
    ----------
    space, rng
    initial : int, optional
        The Sobol design at the start has this many configurations.

    References
    ----------
    Lindauer et al., "SMAC3: A Versatile Bayesian Optimization Package for Hyperparameter
    Optimization", JMLR 23, 2022; Hutter, Hoos & Leyton-Brown, LION'11.
    """

    def __init__(self, space: ConfigSpace, rng: np.random.Generator, *, initial: int = 30) -> None:
        super().__init__(space, rng)
        self.initial = initial
        self._smac = _load("smac", "smac")

    def begin(self, search: Search, start: int) -> None:
        """See :meth:`Searcher.begin`."""
        spaces, seed = import_module("ConfigSpace"), self._seed()
        knobs = [
            spaces.Categorical(name, list(range(size)))
            if name in self._categories
            else spaces.Integer(name, (0, size - 1))
            for name, size in self._sizes.items()
        ]
        if knobs:
            search.memory["session"] = _Session(self._smac, knobs, seed, self.initial)

    def choose(self, search: Search) -> int:
        """See :meth:`Searcher.choose`."""
        if not self._free:
            return 0
        point = search.memory["session"].ask()
        if point is None:
            return search.lowest if search.history else self.start
        return self._index(point)

    def learn(self, search: Search, index: int, cost: float) -> None:
        """See :meth:`Searcher.learn`."""
        if self._free:
            search.memory["session"].tell(self._point(index), max(cost, SMALLEST_COST))


class _Session:
    """One run of SMAC that leaves no files."""

    def __init__(self, smac: Any, knobs: list[Any], seed: int, initial: int) -> None:
        from logging import ERROR, getLogger
        from tempfile import TemporaryDirectory

        import ConfigSpace as Spaces

        getLogger("smac").setLevel(ERROR)
        self._smac, self._space = smac, Spaces.ConfigurationSpace(seed=seed)
        self._space.add(*knobs)
        self._names = [knob.name for knob in knobs]  # the space puts its knobs in another order
        self._folder = TemporaryDirectory()
        scenario = smac.Scenario(
            self._space, n_trials=10**6, seed=seed, output_directory=self._folder.name
        )
        kind = smac.HyperparameterOptimizationFacade
        design = kind.get_initial_design(scenario, n_configs=initial)
        self._facade = kind(
            scenario,
            self._never_called,
            initial_design=design,
            acquisition_maximizer=kind.get_acquisition_maximizer(scenario, challengers=CHALLENGERS),
            logging_level=False,
        )
        self._asked: Any = None
        self._exhausted = False

    @staticmethod
    def _never_called(config: Any, seed: int) -> float:
        raise RuntimeError("episodes are measured by the server, not by SMAC")

    def ask(self) -> list[int] | None:
        from joblib import parallel_config

        if self._exhausted:
            return None
        try:
            with parallel_config("sequential"):  # ten small trees: threads would only wait
                self._asked = self._facade.ask()
        except (self._smac.main.exceptions.ConfigurationSpaceExhaustedException, StopIteration):
            self._exhausted = True
            return None
        return [int(self._asked.config[name]) for name in self._names]

    def tell(self, point: list[int], cost: float) -> None:
        from ConfigSpace import Configuration

        values = dict(zip(self._names, point, strict=True))
        info = self._asked
        if info is None or dict(info.config) != values:
            config = Configuration(self._space, values=values)
            info = self._smac.runhistory.dataclasses.TrialInfo(config, seed=0)
        self._facade.tell(info, self._smac.runhistory.dataclasses.TrialValue(cost=cost))
