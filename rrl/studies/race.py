"""Races between agents: the same problems, the same arrivals, many seeds, honest measures.

:func:`race` runs an agent on a scenario from many seeds. On a surface, :func:`surface_episodes`
runs an agent without requests, which is faster. :func:`score` measures how soon the agent
recommends a good configuration, whether it keeps to good ones, and what the learning costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rrl.core.space import Floats
from rrl.studies.problems import SurfaceServer
from rrl.studies.scenario import Scenario
from rrl.tuning.loop import Agent, MakeAgent, tune
from rrl.tuning.objective import Objective

LOAD_NOISE = 0.1  # of the load estimates on a surface: 100 Poisson arrivals give this much


@dataclass(frozen=True, eq=False)
class Race:
    """The actions of an agent on a scenario, for each seed.

    Parameters
    ----------
    chosen, recommended : ndarray of int, shape (seeds, episodes)
        These are indices of configurations. `chosen` served in the episode. `recommended` would be
        deployed after the episode.
    costs : ndarray, shape (seeds, episodes), optional
        These are the costs that the agent was told, in seconds for a latency.
    """

    chosen: NDArray[np.int32]
    recommended: NDArray[np.int32]
    costs: Floats | None = None


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
    >>> from rrl.studies.problems import with_truth
    >>> runs = race(with_truth("keyword-threads", 900.0), RRL, range(3), 20)
    >>> runs.chosen.shape
    (3, 20)
    """
    chosen = np.empty((len(seeds), episodes), dtype=np.int32)
    recommended, costs = np.empty_like(chosen), np.empty(chosen.shape)
    space = scenario.space
    for row, seed in enumerate(seeds):
        agent = make_agent(space, np.random.default_rng([seed, 0]))
        rng = np.random.default_rng([seed, 1])
        run = tune(
            scenario.server, agent, scenario.workload, episodes, rng,
            requests=scenario.requests, objective=objective,
        )  # fmt: skip
        chosen[row] = [space.index(c) for c in run.configurations]
        recommended[row] = [space.index(c) for c in run.recommended]
        costs[row] = run.costs
    return Race(chosen, recommended, costs)


def surface_episodes(
    scenario: Scenario, agent: Agent, seed: int, episodes: int
) -> Iterator[tuple[int, float]]:
    """Let an agent learn on a surface; yield the configuration that served, and the load (1/s).

    Agents with the same seed meet the same noise and the same load estimates.
    """
    server = scenario.server
    assert isinstance(server, SurfaceServer)
    normal = np.random.default_rng([seed, 1]).standard_normal((2, episodes))
    noise = np.maximum(1 + server.noise * normal[0], 0.1).tolist()
    loads = (scenario.workload.rate * np.exp(LOAD_NOISE * normal[1])).tolist()
    costs, space = scenario.cost.tolist(), scenario.space
    for factor, load in zip(noise, loads, strict=True):
        configuration = agent.ask(load)
        index = space.index(configuration)
        agent.tell(configuration, costs[index] * factor)
        yield index, load


def counts_episodes(measure: str) -> bool:
    """Return whether a measure of :func:`score` is a number of episodes.

    Such a number is censored at the horizon if the event never happens.

    Examples
    --------
    >>> [counts_episodes(name) for name in ("first_within_5", "stays_within_5", "mean_cost")]
    [True, True, False]
    """
    return measure.startswith(("first_", "stays_"))


def stays_from(within: ArrayLike) -> Floats:
    """Return the first episode from which on all is within, to the end of each run.

    Parameters
    ----------
    within : array_like of bool, shape (..., episodes)

    Returns
    -------
    ndarray, shape (...)
        Episodes count from 1. The number is infinite if the last episode is outside.

    Examples
    --------
    >>> stays_from([[True, True, True], [True, False, True], [True, True, False]])
    array([ 1.,  3., inf])
    """
    backwards = np.asarray(within, dtype=bool)[..., ::-1]
    episodes = backwards.shape[-1]
    stay = np.where(backwards.all(axis=-1), episodes, backwards.argmin(axis=-1))  # to the end
    return np.where(stay > 0, episodes - stay + 1.0, np.inf)


def score(scenario: Scenario, runs: Race) -> dict[str, Floats]:
    """Measure each run of a race against the truth.

    Returns
    -------
    dict of str to ndarray, shape (seeds,)
        ``first_within_5`` is the first episode whose recommended configuration is good (see
        :class:`Scenario`). ``stays_within_5`` is the first episode from which on all recommended
        configurations are good, to the end of the run. Both are one more than the number of
        episodes if this never happens. ``deployed`` is the true cost of the last recommendation,
        divided by the optimum's, and ``simple_regret`` is what of this is above 1. ``mean_cost`` is
        the true mean cost of all episodes, divided by the optimum's, and ``mean_cost_100`` is that
        of the first hundred episodes.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> from rrl.studies.problems import surface
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> runs = Race(np.array([[0, 1, 2, 1]]), np.array([[0, 1, 2, 1]]))
    >>> measured = score(line, runs)
    >>> measured["first_within_5"].item(), measured["stays_within_5"].item()
    (2.0, 4.0)
    """
    best = scenario.optimum
    served, deployed = scenario.cost[runs.chosen] / best, scenario.cost[runs.recommended] / best
    good, never = scenario.good[runs.recommended], runs.recommended.shape[1] + 1
    regret = deployed[:, -1] - 1
    return {
        "first_within_5": np.where(good.any(axis=1), good.argmax(axis=1) + 1.0, never),
        "stays_within_5": np.minimum(stays_from(good), never),
        "simple_regret": regret,
        "deployed": 1 + regret,
        "mean_cost": served.mean(axis=1),
        "mean_cost_100": served[:, :100].mean(axis=1),
    }
