"""Races between agents: the same problems, the same arrivals, many seeds, honest measures.

:func:`race` runs an agent on a scenario from many seeds; :func:`score` says how soon it recommended
a good configuration, whether it stayed with one, and what the learning cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import Agent, MakeAgent
from rrl.core.knob import Configuration
from rrl.studies.scenario import Scenario
from rrl.tuning.experiments import tune
from rrl.tuning.objective import Objective


@dataclass(frozen=True, eq=False)
class Race:
    """What an agent did on a scenario, from each seed.

    Parameters
    ----------
    chosen, recommended : ndarray of int, shape (seeds, episodes)
        Configurations by number: what served, and what would have been deployed after it.
    seconds : float
        Time of all asking, telling and recommending, over the number of episodes.
    costs : ndarray, shape (seeds, episodes), optional
        What the agent was told; seconds for a latency.
    """

    chosen: NDArray[np.int32]
    recommended: NDArray[np.int32]
    seconds: float
    costs: NDArray[np.float64] | None = None


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
    objective: Objective | None = None,
) -> Race:
    """Run an agent from each seed; a seed's arrivals are the same for every agent.

    Parameters
    ----------
    scenario : Scenario
    make_agent : callable
        Takes the space and a generator of the agent's own.
    seeds : sequence of int
    episodes : int
    objective : Objective, optional
        Mean latency by default; the scenario's costs must be of the same kind.

    Examples
    --------
    >>> from rrl import RRL
    >>> from rrl.studies.scenario import recorded
    >>> runs = race(recorded("data/keyword-threads", 900.0), RRL, range(3), 20)
    >>> runs.chosen.shape
    (3, 20)
    """
    chosen = np.empty((len(seeds), episodes), dtype=np.int32)
    recommended, costs = np.empty_like(chosen), np.empty(chosen.shape)
    space, seconds = scenario.space, 0.0
    settings = {"requests": scenario.requests, "objective": objective}
    for row, seed in enumerate(seeds):
        agent = _Timed(make_agent(space, np.random.default_rng([seed, 0])))
        rng = np.random.default_rng([seed, 1])
        run = tune(scenario.server, agent, scenario.workload, episodes, rng, **settings)
        chosen[row] = [space.index(c) for c in run.configurations]
        recommended[row] = [space.index(c) for c in run.recommended]
        costs[row] = run.costs
        seconds += agent.seconds
    return Race(chosen, recommended, seconds / chosen.size, costs)


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
    >>> from rrl import ConfigSpace, Knob
    >>> from rrl.studies.scenario import surface
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
