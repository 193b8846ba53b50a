"""Races between agents: the same problems, the same arrivals, many seeds, honest measures.

:func:`race` runs an agent on a scenario from many seeds. :func:`score` measures what clients pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import Floats
from rrl.studies.measures import excess, level
from rrl.studies.scenario import Scenario
from rrl.tuning.loop import MakeAgent, tune
from rrl.tuning.objective import Objective

MEASURES = {"excess": excess, "level": level}
"""What each run of a race is measured by."""

LOAD_NOISE = 0.1
"""The sd of the logarithm of a load estimate: 100 Poisson arrivals give this much."""


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


def score(scenario: Scenario, runs: Race) -> dict[str, Floats]:
    """Measure each run of a race by the true costs of what served.

    Returns
    -------
    dict of str to ndarray, shape (seeds,)
        ``excess`` and ``level``, see :mod:`rrl.studies.measures`, of the whole run.

    Examples
    --------
    >>> from rrl import ConfigSpace, Knob
    >>> from rrl.studies.problems import surface
    >>> line = surface("line", ConfigSpace([Knob("threads", (1, 2, 4))]), [3.0, 1.0, 2.0])
    >>> runs = Race(np.array([[0, 1, 2, 1]]), np.array([[0, 1, 2, 1]]))
    >>> score(line, runs)["excess"].tolist()
    [0.75]
    """
    served, best = scenario.cost[runs.chosen], scenario.optimum
    episodes = runs.chosen.shape[1]
    return {name: of(served, best, episodes) for name, of in MEASURES.items()}
