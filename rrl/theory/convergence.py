"""Convergence of the running system: compare the agent's table with the truth per episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.core.exploration import Boltzmann
from rrl.core.knob import Configuration, Knob
from rrl.core.rrl import RRL
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.simulation.simulator import SimulatedServer
from rrl.tuning.episode import Server
from rrl.tuning.loop import tune
from rrl.workloads.workload import Poisson

RESAMPLES = 1000  # of a bootstrap
UNIFORM = Boltzmann(1e9, 1e9)
"""At its temperature all configurations are equally likely, as the theorems assume."""


def subgrid(server: SimulatedServer, values: Sequence[int]) -> SimulatedServer:
    """Return a simulated server that offers only these values of each of its knobs.

    The values have the positions 0, 1, 2, ... in the given order.

    Examples
    --------
    >>> from rrl import testbed
    >>> len(subgrid(testbed("cpu10"), (1, 2, 4)).space)
    27
    """
    space = ConfigSpace([Knob(name, tuple(values)) for name in server.space.names])
    return replace(server, space=space)


@dataclass(frozen=True, eq=False)
class Curves:
    """The state of an agent's table after each episode; arrays of shape (seeds, episodes).

    Parameters
    ----------
    worst : ndarray
        This is the largest error of the table, in seconds. It is the maximum norm of the theory.
    typical : ndarray
        This is the median of the relative error over the configurations.
    greedy : ndarray
        This is the true cost of the table's minimum, divided by the optimum's, minus 1. It is the
        loss of the theory.
    deployed : ndarray
        This is the same for the configuration that the agent deploys.
    chosen : ndarray of int
        These are the indices of the measured configurations.
    """

    worst: Floats
    typical: Floats
    greedy: Floats
    deployed: Floats
    chosen: Ints


class _Watched:
    """RRL, which notes the values of its first table after each episode."""

    def __init__(self, agent: RRL) -> None:
        self.agent, self.values = agent, list[Floats]()
        self.ask, self.best = agent.ask, agent.best

    def tell(self, configuration: Configuration, cost: float) -> None:
        self.agent.tell(configuration, cost)
        self.values.append(self.agent.tables[0].values.copy())


def watch_table(
    server: Server,
    rate_per_s: float,
    truth: ArrayLike,
    seeds: int,
    episodes: int,
    make: Callable[..., RRL] = RRL,
    **settings: Any,
) -> Curves:
    """Let RRL learn from each seed and record the state of its table after each episode.

    For the same seed, all settings get the same arrivals. One table is used in the whole run.

    Parameters
    ----------
    server : Server
    rate_per_s : float
        This is the rate of the Poisson arrivals, in requests per second.
    truth : array_like, shape (configurations,)
        This is the true mean cost of each configuration, in seconds.
    seeds, episodes : int
    make : callable, optional
        This is :class:`rrl.RRL` or :func:`rrl.adaptive`. The agent's region has a radius.
    **settings
        These are settings of the agent, such as ``learning_rate=0.1``. The agents of all seeds
        share them. So `make` has to make a part that learns, such as a similarity.

    Raises
    ------
    ValueError
        If the truth and the space have different numbers of configurations.

    Examples
    --------
    >>> from rrl import FixedRadius
    >>> from rrl.studies.problems import surface
    >>> line = surface("line", ConfigSpace([Knob("inter_op", (1, 2, 4))]), [3.0, 1.0, 2.0], 0.0)
    >>> how = {"seeds": 2, "episodes": 40, "region": FixedRadius(0)}
    >>> curves = watch_table(line.server, 10.0, line.cost, **how)
    >>> curves.worst.shape, curves.worst[:, -1].max().round(9)
    ((2, 40), np.float64(0.0))
    """
    truth, space = np.asarray(truth, dtype=float), server.space
    if truth.shape != (len(space),):
        raise ValueError(f"the truth has shape {truth.shape}, the space holds {len(space)}")
    worst, typical, greedy, deployed = np.empty((4, seeds, episodes))
    chosen = np.empty((seeds, episodes), dtype=np.int64)
    for seed in range(seeds):
        draws = np.random.default_rng([seed, 0])
        agent = _Watched(make(space, draws, ratio=math.inf, **settings))  # loads share one table
        rng = np.random.default_rng([seed, 1])
        run = tune(server, agent, Poisson(rate_per_s), episodes, rng)
        errors = np.abs(np.array(agent.values) - truth)
        worst[seed], typical[seed] = errors.max(axis=1), np.median(errors / truth, axis=1)
        greedy[seed] = truth[np.argmin(agent.values, axis=1)]
        deployed[seed] = truth[[space.index(c) for c in run.recommended]]
        chosen[seed] = [space.index(c) for c in run.configurations]
    lowest = truth.min()
    return Curves(worst, typical, greedy / lowest - 1, deployed / lowest - 1, chosen)


def slope_interval(
    x: ArrayLike, samples: ArrayLike, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Fit the slope of log means against log x, with a 95 % bootstrap interval over the runs.

    Parameters
    ----------
    x : array_like, shape (m,)
    samples : array_like, shape (m, runs)
        Each column is an independent run. The bootstrap draws whole columns, so it does not matter
        whether the values of a column share a seed.
    rng : numpy.random.Generator

    Returns
    -------
    slope, low, high : float

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0])
    >>> slope_interval(x, x[:, None] ** 2 * np.ones(5), np.random.default_rng(0))
    (2.0, 2.0, 2.0)
    """
    samples, logs = np.asarray(samples, dtype=float), np.log(np.asarray(x, dtype=float))
    centred = (logs - logs.mean()) / ((logs - logs.mean()) ** 2).sum()
    drawn = rng.integers(samples.shape[1], size=(RESAMPLES, samples.shape[1]))
    slopes = centred @ np.log(samples[:, drawn].mean(axis=-1))
    low, high = np.quantile(slopes, (0.025, 0.975))
    slope = centred @ np.log(samples.mean(axis=1))
    return float(np.round(slope, 12)), float(np.round(low, 12)), float(np.round(high, 12))
