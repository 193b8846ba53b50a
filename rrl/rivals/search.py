"""Base of the searchers that RRL is compared with: loads, measurements and saved states.

A :class:`Searcher` keeps one search per load level. A subclass chooses the next configuration. All
subclasses recommend the configuration with the lowest observed mean cost.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rrl.core.agent import check_cost, check_load, restore_rng, rng_state
from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace
from rrl.tuning.defaults import serving_default

SMALLEST_COST = 1e-9
"""Before a logarithm is taken, this number replaces any smaller cost."""
LOAD_FACTOR = 1.5
"""Loads that differ by less than this factor share one load level, as in RRL by default."""


@dataclass
class LoadLevel:
    """The measurements under one load level.

    Parameters
    ----------
    log_load : float
        This is the mean logarithm of the loads (requests per second) that `ask` received.
    asked : int
        This is the number of these calls of `ask`.
    history : list of [int, float]
        Each pair is the number of a configuration and its cost. The pairs are in order of time.
    memory : dict
        The search continues from this state. JSON can store it.
    means : dict of int to (int, float)
        For each configuration, these are the number of its measurements and its mean cost.
    cache : any
        A subclass can rebuild this from the other attributes.
    """

    log_load: float
    asked: int = 0
    history: list[list[Any]] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    means: dict[int, tuple[int, float]] = field(default_factory=dict)
    cache: Any = None
    _best: int | None = None

    def add(self, index: int, cost: float) -> None:
        """Add a measurement."""
        self.history.append([index, cost])
        count, mean = self.means.get(index, (0, 0.0))
        mean += (cost - mean) / (count + 1)
        self.means[index] = (count + 1, mean)
        if self._best is None or self._best == index:
            self._best = min(self.means, key=self.mean)
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
    """A tuner with a separate search per load level; it recommends the lowest mean cost.

    A load belongs to the nearest known load level on a logarithmic scale. If that one is further
    away than `LOAD_FACTOR`, a new load level is made. It starts from the recommendation for the
    nearest load level with measurements. If there is none, it starts from `start`.

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
        self.levels: list[LoadLevel] = []
        self._current: LoadLevel | None = None  # that of the last `ask`

    def begin(self, level: LoadLevel, start: int) -> None:
        """Prepare the memory of a new load level; `start` is a good guess or served so far."""

    def choose(self, level: LoadLevel) -> int:
        """Return the number of the next configuration."""
        raise NotImplementedError

    def learn(self, level: LoadLevel, index: int, cost: float) -> None:
        """Learn from a measurement that `level` already contains."""

    def rebuild(self, level: LoadLevel) -> None:
        """Rebuild the cache of `level` after its history and memory were restored."""

    def ask(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.ask`."""
        log_load = math.log(check_load(load))
        level = self._nearest(log_load)
        if level is None or abs(level.log_load - log_load) > _width(level):
            near = self._nearest(log_load, measured=True)
            level = LoadLevel(log_load)
            self.begin(level, self.start if near is None else near.best)
            self.levels.append(level)
        level.asked += 1
        level.log_load += (log_load - level.log_load) / level.asked
        self._current = level
        return self.space[self.choose(level)]

    def tell(self, configuration: Configuration, cost: float) -> None:
        """See :meth:`rrl.core.agent.Agent.tell`."""
        if self._current is None:
            raise ValueError("tell comes after ask: the load of this episode is not known")
        cost, index = check_cost(cost), self.space.index(configuration)
        self._current.add(index, cost)
        self.learn(self._current, index, cost)

    def best(self, load: float) -> Configuration:
        """See :meth:`rrl.core.agent.Agent.best`; the answer is for the nearest measured load.

        Raises
        ------
        ValueError
            If `tell` was not called yet, or the load is not a positive number.
        """
        level = self._nearest(math.log(check_load(load)), measured=True)
        if level is None:
            raise ValueError("nothing to recommend: tell the cost of an episode first")
        return self.space[level.best]

    def _nearest(self, log_load: float, measured: bool = False) -> LoadLevel | None:
        levels = [level for level in self.levels if level.history or not measured]
        return min(levels, key=lambda level: abs(level.log_load - log_load), default=None)

    def extras(self) -> dict[str, Any]:
        """Return state that belongs to no load level; :meth:`restore_extras` restores it."""
        return {}

    def restore_extras(self, extras: dict[str, Any]) -> None:
        """Continue from what :meth:`extras` returned."""

    def state(self) -> dict[str, Any]:
        """See :meth:`rrl.core.agent.Agent.state`. Settings are not part of it."""
        return {
            "agent": type(self).__name__,
            "space": self.space.fingerprint,
            "rng": rng_state(self.rng),
            "current": None if self._current is None else self.levels.index(self._current),
            "levels": [
                {
                    "log_load": level.log_load,
                    "asked": level.asked,
                    "history": [list(pair) for pair in level.history],
                    "memory": copy.deepcopy(level.memory),
                }
                for level in self.levels
            ],
            "extras": self.extras(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """See :meth:`rrl.core.agent.Agent.restore`; the agent must have the same settings.

        Raises
        ------
        ValueError
            If the state is incomplete, or belongs to another agent, space or kind of generator.
        """
        mine = (type(self).__name__, self.space.fingerprint)
        theirs = (state.get("agent"), state.get("space"))
        if theirs != mine:
            raise ValueError(
                "the state is of agent {!r} on space {!r}, ".format(*theirs)
                + "not {!r} on {!r}: make the agent as it was made before".format(*mine)
            )
        try:
            levels = [_restored(saved) for saved in state["levels"]]
            current, rng, extras = state["current"], state["rng"], state["extras"]
            self._current = None if current is None else levels[current]
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"the saved state is incomplete or damaged: {error!r}") from None
        restore_rng(self.rng, rng)
        self.levels = levels
        self.restore_extras(extras)
        for level in levels:
            self.rebuild(level)


def _width(level: LoadLevel) -> float:
    """Return how far a log load may be from the mean; twice as far after a single estimate."""
    return math.log(LOAD_FACTOR) * (1 + 1 / level.asked)


def _restored(saved: dict[str, Any]) -> LoadLevel:
    level = LoadLevel(saved["log_load"], saved["asked"], memory=copy.deepcopy(saved["memory"]))
    for index, cost in saved["history"]:
        level.add(index, cost)
    return level
