"""Races between agents: the same problems, the same arrivals, many seeds, honest measures.

:func:`race` runs an agent on a scenario from many seeds. :func:`score` measures how soon the agent
recommends a good configuration, whether it keeps to good ones, and what the learning costs.
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
    """The actions of an agent on a scenario, for each seed.

    Parameters
    ----------
    chosen, recommended : ndarray of int, shape (seeds, episodes)
        These are numbers of configurations. `chosen` served in the episode. `recommended` would be
        deployed after the episode.
    seconds : float
        This is the time of all calls of `ask`, `tell` and `best`, divided by the number of
        episodes.
    costs : ndarray, shape (seeds, episodes), optional
        These are the costs that the agent was told, in seconds for a latency.
    """

    chosen: NDArray[np.int32]
    recommended: NDArray[np.int32]
    seconds: float
    costs: NDArray[np.float64] | None = None


class _Timed:
    """A wrapper that adds up the time of the agent only, without the time of the server."""

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
    """Run an agent from each seed; for one seed, every agent gets the same arrivals.

    Parameters
    ----------
    scenario : Scenario
    make_agent : callable
        It takes the space and a generator that only this agent uses.
    seeds : sequence of int
    episodes : int
    objective : Objective, optional
        It is the mean latency by default. The scenario's costs must be of the same kind.

    Examples
    --------
    >>> from rrl import RRL
    >>> from rrl.studies.problems import recorded
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
        ``E5`` is the number of episodes until the recommended configuration is good (see
        :class:`Scenario`) and stays good to the end. ``E5_possible`` is the same for possibly good
        ones, and ``E10`` is the same for a true cost within 10 % of the optimum. ``E5_first`` and
        so on are the numbers until this is true for the first time. A number is infinite if this
        never happens. ``gap`` is the true cost of the last recommendation above the optimum's, as
        a share. ``price`` is the true mean cost of all episodes, divided by the optimum's, and
        ``price_100`` is that of the first hundred. ``pain`` is the sum over the episodes of the
        true cost above the optimum's, in units of the optimum's. ``violations`` is the share of
        requests above the latency objective while learning.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> from rrl.studies.problems import surface
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> runs = Race(np.array([[0, 1, 2, 1]]), np.array([[0, 1, 2, 1]]), 0.0)
    >>> measured = score(line, runs)
    >>> {name: measured[name].item() for name in ("E5_first", "E5", "E10_first", "E10")}
    {'E5_first': 2.0, 'E5': 4.0, 'E10_first': 2.0, 'E10': 4.0}
    """
    best, episodes = scenario.optimum, runs.chosen.shape[1]
    served, deployed = scenario.cost[runs.chosen] / best, scenario.cost[runs.recommended] / best
    result: dict[str, NDArray[np.float64]] = {}
    for name, good in (
        ("E5", scenario.good[runs.recommended]),
        ("E5_possible", scenario.possible[runs.recommended]),
        ("E10", deployed <= 1.1),
    ):
        first = np.where(good.any(axis=1), good.argmax(axis=1) + 1.0, np.inf)
        run_of_good = np.where(good.all(axis=1), episodes, good[:, ::-1].argmin(axis=1))
        stays = np.where(run_of_good > 0, episodes - run_of_good + 1.0, np.inf)
        result |= {f"{name}_first": first, name: stays}
    return result | {
        "gap": deployed[:, -1] - 1,
        "price": served.mean(axis=1),
        "price_100": served[:, :100].mean(axis=1),
        "pain": (served - 1).sum(axis=1),
        "violations": scenario.violations[runs.chosen].mean(axis=1),
    }
