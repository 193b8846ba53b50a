"""Problems whose loads stay, with episodes in a bank: what thousands of runs of a study serve.

A load that stays and a table of costs need no requests, so a run of 300 episodes takes some
milliseconds. Each problem keeps a bank of episodes. Of a simulated testbed, the bank contains
`BANK` episodes that all configurations served: the noise of an episode is the testbed's own at each
configuration, and the true cost is the mean of the bank. Of a table, the noise is the same
everywhere.

No recording is among the problems, because recordings judge what a study chooses. About half of
the problems choose settings (`TUNING`), and the others judge them (`JUDGING`). The rule of the
split was written before the first run:

- Of the made surfaces, `TUNING_KINDS` choose and `JUDGING_KINDS` judge, each in four roughnesses.
- Simulated testbeds, each at three loads, take turns by the model that is served: ``cpu2`` and
  ``cpu2-joint`` choose, ``cpu10`` and ``cpu10-cores`` judge, ``gpu`` chooses.
- The synthetic grids take turns in the order of their list, and so do the made spaces.

Testbeds and synthetic grids start with TensorFlow Serving's default. Elsewhere nobody knows a
default, so the start is drawn from the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rrl.core.knob import Configuration
from rrl.core.space import ConfigSpace, Floats
from rrl.simulation.optimum import charged
from rrl.simulation.simulator import SimulatedServer
from rrl.studies.problems import MADE, SURFACES, SurfaceServer, open_scenario
from rrl.studies.race import LOAD_NOISE
from rrl.studies.surfaces import JUDGING_KINDS, TUNING_KINDS, cube, made_surface
from rrl.tuning.loop import MakeAgent
from rrl.workloads.workload import cut_into_episodes

TUNING, JUDGING = "tuning", "judging"

ROUGHNESSES, NOISES = (0.015, 0.05, 0.15, 0.5), (0.03, 0.1, 0.3)
"""Of the made surfaces. A kind has another noise at each roughness, so that all pairs occur."""
DRAWN = 700
"""The seed of the made surfaces; no other study draws it."""
BANK = 150
"""Episodes of a simulated testbed's bank, of 100 requests each."""
DRAWS = 300
"""Episodes of a table's bank."""
LOAD = 10.0
"""Requests per second that agents see on all problems, with `LOAD_NOISE`; no cost depends on it."""

LOADS = {
    "cpu2": (60.0, 115.0, 165.0),
    "cpu2-joint": (60.0, 115.0, 165.0),
    "cpu10": (8.3, 12.5, 16.7),
    "cpu10-cores": (8.3, 12.5, 16.7),
    "gpu": (200.0, 500.0, 900.0),
}
"""The loads of the simulated testbeds (requests/s), from low to high."""
JUDGING_TESTBEDS = ("cpu10", "cpu10-cores")


class Problem(NamedTuple):
    """A table of true costs, and a bank of episodes.

    Parameters
    ----------
    space : ConfigSpace
    cost : ndarray, shape (configurations,)
        The true mean cost of an episode.
    bank : ndarray, shape (configurations, episodes)
        What episodes cost. The episodes of a column had the same arrivals or the same noise.
    start : int or None
        The index of the default; None if the start is drawn.
    """

    space: ConfigSpace
    cost: Floats
    bank: Floats
    start: int | None


def problem_names(role: str) -> list[str]:
    """Return the names of the problems that choose settings (`TUNING`) or judge them (`JUDGING`).

    Examples
    --------
    >>> names = problem_names(TUNING)
    >>> len(names), len(problem_names(JUDGING)), names[0], names[12], names[-1]
    (25, 28, 'bowl 1.5 %, noise 3 %', 'wide', 'gpu 900/s')
    """
    judges = role == JUDGING
    kinds = JUDGING_KINDS if judges else TUNING_KINDS
    made = [
        f"{kind} {100 * rough:g} %, noise {100 * NOISES[(i + k) % len(NOISES)]:g} %"
        for i, kind in enumerate(kinds)
        for k, rough in enumerate(ROUGHNESSES)
    ]
    simulated = [
        f"{name} {load:g}/s"
        for name, loads in LOADS.items()
        for load in loads
        if (name in JUDGING_TESTBEDS) == judges
    ]
    return [*made, *SURFACES[int(judges) :: 2], *MADE[int(judges) :: 2], *simulated]


@lru_cache(maxsize=64)
def open_problem(name: str, data: str) -> Problem:
    """Make a problem of :func:`problem_names`; `data` is the folder of the synthetic grids.

    Examples
    --------
    >>> problem = open_problem("cpu2 60/s", "data")
    >>> problem.bank.shape, problem.space[problem.start]["batch_threads"]
    ((96, 150), 0)
    """
    first, _, rest = name.partition(" ")
    rng = np.random.default_rng(0)
    if first in LOADS:
        scenario = open_scenario(first, float(rest.removesuffix("/s")), data)
        assert isinstance(scenario.server, SimulatedServer)
        stretch = scenario.workload.arrivals(BANK * scenario.requests, rng)
        episodes = cut_into_episodes(stretch, scenario.requests)
        means = [latency.mean(axis=1) for latency in charged(scenario.server, episodes, rng)]
        bank = np.stack(means, axis=1)
        return Problem(scenario.space, bank.mean(axis=1), bank, scenario.default)
    if first in (*TUNING_KINDS, *JUDGING_KINDS):
        rough, noise = (float(word) / 100 for word in rest.split(" ")[::3])
        space, cost, start = cube()[0], made_surface(first, rough, DRAWN), None
    else:
        scenario = open_scenario(first, data=data)
        assert isinstance(scenario.server, SurfaceServer)
        space, cost, noise = scenario.space, scenario.cost, scenario.server.noise
        start = scenario.default if first in SURFACES else None
    factors = np.maximum(1 + noise * rng.standard_normal(DRAWS), 0.1)
    bank = cost[:, None] * (factors / factors.mean())
    return Problem(space, cost, bank, start)


def serve(
    problem: Problem, starting: Callable[[Configuration], MakeAgent], seed: int, episodes: int
) -> Floats:
    """Let an agent tune a problem; return the true cost of each episode, shape (episodes,).

    All agents with the same seed meet the same start, the same episodes and the same load
    estimates.

    Parameters
    ----------
    problem : Problem
    starting : callable
        It takes the start, and returns what makes an agent that serves it first.
    seed, episodes : int
    """
    space, rng = problem.space, np.random.default_rng([seed, 1])
    drawn = int(rng.integers(len(space)))
    columns = rng.integers(problem.bank.shape[1], size=episodes)
    loads = LOAD * np.exp(LOAD_NOISE * rng.standard_normal(episodes))
    start = space[drawn if problem.start is None else problem.start]
    agent, served = starting(start)(space, np.random.default_rng([seed, 0])), np.empty(episodes)
    for episode, (column, load) in enumerate(zip(columns.tolist(), loads.tolist(), strict=True)):
        configuration = agent.ask(load)
        index = space.index(configuration)
        agent.tell(configuration, problem.bank.item(index, column))
        served[episode] = problem.cost[index]
    return served
