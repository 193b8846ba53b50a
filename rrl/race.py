"""Races between agents: the same problems, the same arrivals, many seeds, honest measures.

A :class:`Scenario` is a server under a load whose true costs are known for every configuration.
:func:`race` runs an agent on it from many seeds; :func:`score` says how soon it recommended a
good configuration, whether it stayed with one, and what the learning cost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.agent import Agent
from rrl.episode import Episode, Server, Status, check_arrivals
from rrl.experiments import tune
from rrl.objective import FAILURE_S, charged_latency
from rrl.space import ConfigSpace, Configuration
from rrl.workload import Poisson, Workload

Costs = NDArray[np.float64]
MakeAgent = Callable[[ConfigSpace, np.random.Generator], Agent]

SLO_FACTOR = 2.0
"""The latency objective of a scenario, in units of the optimum's mean latency."""


@dataclass(frozen=True, eq=False)
class Scenario:
    """A server under a load, and the truth about it.

    Parameters
    ----------
    name : str
    server : Server
        With the attribute `space`.
    workload : Workload
    cost : ndarray, shape (configurations,)
        True mean cost of an episode, in seconds for a latency.
    violations : ndarray, shape (configurations,)
        True share of requests that take longer than `SLO_FACTOR` times the optimum's mean; NaN
        where that is not known.
    """

    name: str
    server: Server
    workload: Workload
    cost: Costs
    violations: Costs

    @property
    def space(self) -> ConfigSpace:
        """What can be chosen."""
        return self.server.space

    @property
    def optimum(self) -> float:
        """The smallest true cost."""
        return float(self.cost.min())


@lru_cache(maxsize=32)
def simulated(
    name: str, rate_per_s: float, *, requests: int = 100, replications: int = 300, seed: int = 0
) -> Scenario:
    """Make a scenario of a testbed under a Poisson load.

    Parameters
    ----------
    name : str
        See :func:`rrl.testbed`.
    rate_per_s : float
    requests : int
        Of an episode; the truth is about episodes that start empty, as the agents' do.
    replications : int
        Episodes of every configuration that the truth averages, with common random numbers.
    seed : int
        Of those.

    Examples
    --------
    >>> scenario = simulated("cpu2", 115.0, replications=20)
    >>> scenario.cost.shape, 0 < scenario.optimum < 0.1
    ((96,), True)
    """
    from rrl.testbeds import testbed

    server, workload = testbed(name), Poisson(rate_per_s)

    def average(summary: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Costs:
        rng, total = np.random.default_rng(seed), np.zeros(len(server.space))
        for _ in range(replications):
            for block, latency, rejected in server.grid(workload.arrivals(requests, rng), rng):
                latency[rejected] = np.maximum(latency[rejected], FAILURE_S)
                total[block] += summary(latency).mean(axis=1)
        return total / replications

    cost = average(lambda latency: latency)
    slo_s = SLO_FACTOR * cost.min()
    violations = average(lambda latency: latency > slo_s)
    return Scenario(f"{name} {rate_per_s:g}/s", server, workload, cost, violations)


@lru_cache(maxsize=32)
def recorded(folder: str | os.PathLike[str], rate_per_s: float) -> Scenario:
    """Make a scenario of one load of a recorded profile; its means over the repeats are the truth.

    Raises
    ------
    DataError
        If the profile is not whole, or that load was not recorded.

    Examples
    --------
    >>> recorded("data/keyword-threads", 900.0).cost.shape
    (16,)
    """
    from pathlib import Path

    from rrl.replay import RecordedServer

    server = RecordedServer(folder, rate_per_s)
    profile, n = server.profile, len(server.space)
    at_rate = profile.grid[np.isclose(profile.grid["rate_per_s"], rate_per_s)]
    index = server.space.indices(at_rate)
    blank = np.zeros(int(profile.description["plan"]["requests"]))
    latency = np.array(
        [
            charged_latency(Episode({}, blank, profile.latencies(row), profile.statuses(row)))
            for row in at_rate.index.tolist()
        ]
    )
    counts = np.bincount(index, minlength=n)
    cost = np.bincount(index, latency.mean(axis=1), n) / counts
    late = (latency > SLO_FACTOR * cost.min()).mean(axis=1)
    violations = np.bincount(index, late, n) / counts
    name = f"{Path(folder).name} {rate_per_s:g}/s"
    return Scenario(name, server, Poisson(rate_per_s), cost, violations)


class SurfaceServer:
    """Mean costs with independent normal noise, an episode at a time: the usual abstraction.

    Parameters
    ----------
    space : ConfigSpace
    cost : array_like, shape (configurations,)
        Mean cost of each configuration.
    noise : float
        Coefficient of variation of an episode.
    """

    def __init__(self, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> None:
        self.space, self.cost, self.noise = space, np.asarray(cost, dtype=float).ravel(), noise

    def measure(
        self, configuration: Configuration, arrivals: ArrayLike, rng: np.random.Generator
    ) -> Episode:
        """Charge the same cost to every request of the episode."""
        arrivals = check_arrivals(arrivals)
        mean = self.cost[self.space.index(configuration)]
        cost = mean * max(1 + self.noise * rng.standard_normal(), 0.1)
        n = len(arrivals)
        info = {"server": "surface"}
        return Episode(configuration, arrivals, np.full(n, cost), np.full(n, Status.OK), info=info)


def surface(name: str, space: ConfigSpace, cost: ArrayLike, noise: float = 0.07) -> Scenario:
    """Make a scenario of a table of mean costs, see `SurfaceServer`.

    Examples
    --------
    >>> from rrl import Knob
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> line.optimum
    1.0
    """
    server = SurfaceServer(space, cost, noise)
    unknown = np.full(len(space), np.nan)
    return Scenario(name, server, Poisson(10.0), server.cost, unknown)


@dataclass(frozen=True, eq=False)
class Race:
    """What an agent did on a scenario, from each seed.

    Parameters
    ----------
    chosen, recommended : ndarray of int, shape (seeds, episodes)
        Configurations by number: what served, and what would have been deployed after it.
    seconds : float
        Time of all asking, telling and recommending, over the number of episodes.
    """

    chosen: NDArray[np.int32]
    recommended: NDArray[np.int32]
    seconds: float


class _Timed:
    """Adds up the time that an agent takes, whatever the server takes."""

    def __init__(self, agent: Agent) -> None:
        self.agent, self.seconds = agent, 0.0

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*arguments)
        finally:
            self.seconds += time.perf_counter() - start

    def ask(self, load: float) -> Configuration:
        return self._call(self.agent.ask, load)

    def tell(self, configuration: Configuration, cost: float) -> None:
        self._call(self.agent.tell, configuration, cost)

    def best(self, load: float) -> Configuration:
        return self._call(self.agent.best, load)


def race(
    scenario: Scenario,
    make_agent: MakeAgent,
    seeds: Sequence[int],
    episodes: int,
    *,
    requests: int = 100,
) -> Race:
    """Run an agent from each seed; a seed's arrivals are the same for every agent.

    Parameters
    ----------
    scenario : Scenario
    make_agent : callable
        Takes the space and a generator of the agent's own.
    seeds : sequence of int
    episodes : int
    requests : int, optional
        Of an episode.

    Examples
    --------
    >>> from rrl import RRL
    >>> runs = race(recorded("data/keyword-threads", 900.0), RRL, range(3), 20)
    >>> runs.chosen.shape
    (3, 20)
    """
    chosen = np.empty((len(seeds), episodes), dtype=np.int32)
    recommended, seconds, space = np.empty_like(chosen), 0.0, scenario.space
    for row, seed in enumerate(seeds):
        agent = _Timed(make_agent(space, np.random.default_rng([seed, 0])))
        rng = np.random.default_rng([seed, 1])
        run = tune(scenario.server, agent, scenario.workload, episodes, rng, requests=requests)
        chosen[row] = [space.index(c) for c in run.configurations]
        recommended[row] = [space.index(c) for c in run.recommended]
        seconds += agent.seconds
    return Race(chosen, recommended, seconds / chosen.size)


def score(scenario: Scenario, runs: Race) -> dict[str, NDArray[np.float64]]:
    """Measure each run of a race against the truth.

    Returns
    -------
    dict of str to ndarray, shape (seeds,)
        ``E5`` and ``E10``: episodes until the recommended configuration is truly within 5 or 10 %
        of the optimum and stays so to the end; ``E5_first`` and ``E10_first``: until it first is;
        infinity where that does not happen. ``gap``: the last recommendation's true cost above
        the optimum's, as a share. ``price``: the true mean cost of all episodes that served, over
        the optimum's, ``price_100``: of the first hundred. ``pain``: the sum of what each episode
        cost above the optimum, in units of it. ``violations``: share of requests above the
        latency objective while learning.

    Examples
    --------
    >>> from rrl import Knob
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> runs = Race(np.array([[0, 1, 2, 1]]), np.array([[0, 1, 2, 1]]), 0.0)
    >>> {name: value[0].item() for name, value in score(line, runs).items() if name[0] == "E"}
    {'E5_first': 2.0, 'E5': 4.0, 'E10_first': 2.0, 'E10': 4.0}
    """
    best, episodes = scenario.optimum, runs.chosen.shape[1]
    served, deployed = scenario.cost[runs.chosen] / best, scenario.cost[runs.recommended] / best
    result: dict[str, NDArray[np.float64]] = {}
    for percent in (5, 10):
        good = deployed <= 1 + percent / 100
        first = np.where(good.any(axis=1), good.argmax(axis=1) + 1.0, np.inf)
        run_of_good = np.where(good.all(axis=1), episodes, good[:, ::-1].argmin(axis=1))
        stays = np.where(run_of_good > 0, episodes - run_of_good + 1.0, np.inf)
        result |= {f"E{percent}_first": first, f"E{percent}": stays}
    return result | {
        "gap": deployed[:, -1] - 1,
        "price": served.mean(axis=1),
        "price_100": served[:, :100].mean(axis=1),
        "pain": (served - 1).sum(axis=1),
        "violations": scenario.violations[runs.chosen].mean(axis=1),
    }
