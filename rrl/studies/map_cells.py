"""One cell of the map of regions: surfaces of one roughness under one noise, and agents on them.

:func:`run_measures` says when a run arrived. What is *served* arrives with the first episode from
which on every mean over `WINDOW` consecutive episodes is within the tolerance of the best. What is
*recommended* arrives with the first episode from which on every configuration that the agent would
deploy is. Both count true costs. An arrival in the last tenth of a run counts as never: a stay so
short is no evidence.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.core.agent import MakeAgent
from rrl.core.exploration import Boltzmann, Temperature
from rrl.core.region import FixedRadius
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import maker
from rrl.studies.horizons import surface_episodes
from rrl.studies.map_surfaces import map_surface, paper_grid
from rrl.studies.problems import surface

Floats = NDArray[np.float64]

WINDOW = 20
LATEST = 0.9
"""A later arrival, as a fraction of the run, counts as never."""

MEASURES = ("served", "recommended")
TOLERANCES = (0.05, 0.1, 0.2)
COLUMNS = tuple(
    f"{measure}_{100 * tolerance:g}" for measure in MEASURES for tolerance in TOLERANCES
)
"""What a run is measured by: the names of the columns of all tables."""

ARRAYS = ("arrivals", "excess")
"""What is stored of the runs, see :func:`run_measures`."""


class Cell(NamedTuple):
    """A place on the map: how much neighbours differ, and the noise of an episode (fractions)."""

    roughness: float
    noise: float


def agent_settings() -> dict[str, list[str]]:
    """Return the settings of each agent that the tuning tries, as JSON.

    Examples
    --------
    >>> {agent: len(settings) for agent, settings in agent_settings().items()}
    {'rrl': 36, 'rrl-adaptive': 12, 'q-learning': 36, 'deep-q-network': 12}
    """
    temperatures = (0.01, 0.002, 50), (0.02, 0.005, 50), (0.1, 0.005, 100)
    explored = [(1.0, end, half) for end in (0.0, 0.02, 0.1) for half in (5, 15, 50, 150)]
    deep = [(1.0, end, half) for end in (0.0, 0.02) for half in (15, 50)]
    regions = {"radius": (1.0, 2.0, 3.0, 5.0), "temperature": temperatures}
    selected = {"radius": (1.5, 3.0), "temperature": temperatures}
    grids: dict[str, dict[str, Any]] = {
        "rrl": regions | {"learning_rate": (0.03, 0.1, 0.3)},
        "rrl-adaptive": selected | {"learning_rate": (0.1, 0.3)},
        "q-learning": {"epsilon": explored, "learning_rate": (0.1, 0.3, 0.6)},
        "deep-q-network": {"epsilon": deep, "learning_rate": (0.003, 0.01, 0.03)},
    }
    return {
        agent: [
            json.dumps(dict(zip(grid, values, strict=True)))
            for values in itertools.product(*grid.values())
        ]
        for agent, grid in grids.items()
    }


def agent_with(agent: str, setting: str) -> MakeAgent:
    """Return a function that makes an agent with one of the :func:`agent_settings`.

    Examples
    --------
    >>> make = agent_with("rrl", agent_settings()["rrl"][-1])
    >>> make(paper_grid()[0], np.random.default_rng(0)).region.radius
    5.0
    """
    options = json.loads(setting)

    def make(space: ConfigSpace, rng: np.random.Generator) -> Any:
        changes = dict(options)
        if "temperature" in changes:
            changes["exploration"] = Boltzmann(Temperature(*changes.pop("temperature")))
        if agent == "rrl":
            changes["region"] = FixedRadius(changes.pop("radius"))
        return maker(agent, **changes)(space, rng)

    return make


def settles(within: Sequence[bool] | NDArray[np.bool_], episodes: int) -> float:
    """Return the first episode, counted from 1, from which on all is within; infinity if none is.

    Parameters
    ----------
    within : array_like of bool
        Its first entry belongs to the first episode.
    episodes : int
        The length of the run.

    Examples
    --------
    >>> settles([False, True, False, True, True, True, True, True, True, True], 10)
    4.0
    >>> settles([False] * 9 + [True], 10)
    inf
    """
    outside = np.flatnonzero(~np.asarray(within))
    first = int(outside[-1]) + 2 if len(outside) else 1
    return float(first) if first <= LATEST * episodes else math.inf


def run_measures(served: Floats, recommended: Floats) -> tuple[Floats, Floats]:
    """Measure one run, in the order of `COLUMNS`.

    Parameters
    ----------
    served, recommended : ndarray, shape (episodes,)
        True costs over the best.

    Returns
    -------
    arrivals : ndarray, shape (6,)
        Episodes until the arrival, counted from 1; infinite if there is none.
    excess : ndarray, shape (6,)
        What was served before the arrival, or in the whole run, above the best: the sum over the
        episodes in units of the best cost.

    Examples
    --------
    >>> costs = np.where(np.arange(200) < 30, 2.0, 1.0)
    >>> arrivals, excess = run_measures(costs, costs)
    >>> arrivals.tolist(), excess.tolist()
    ([30.0, 29.0, 27.0, 31.0, 31.0, 31.0], [29.0, 28.0, 26.0, 30.0, 30.0, 30.0])
    """
    episodes, window = len(served), min(WINDOW, len(served))
    means = np.convolve(served, np.full(window, 1 / window), "valid")
    arrivals = [
        settles(costs <= 1 + tolerance + 1e-9, episodes)
        for costs in (means, recommended)
        for tolerance in TOLERANCES
    ]
    above = np.concatenate([[0.0], np.cumsum(served - 1)])
    excess = [above[-1 if math.isinf(first) else int(first) - 1] for first in arrivals]
    return np.array(arrivals), np.array(excess)


def run_cell(
    agent: str,
    setting: str,
    cell: Cell,
    surfaces: Sequence[tuple[str, int]],
    seeds: Sequence[int],
    episodes: int,
) -> dict[str, Floats]:
    """Run an agent on surfaces of one cell, from each seed.

    Parameters
    ----------
    agent, setting : str
        See :func:`agent_settings`.
    cell : Cell
    surfaces : sequence of (str, int)
        The kind and the seed of each surface, see :func:`rrl.studies.map_surfaces.map_surface`.
    seeds : sequence of int
        Agents with the same seed meet the same noise and the same load estimates.
    episodes : int

    Returns
    -------
    dict of str to ndarray, shape (surfaces, seeds, 6)
        ``arrivals`` and ``excess`` of :func:`run_measures`.
    """
    space, make = paper_grid()[0], agent_with(agent, setting)
    arrivals, excess = np.empty((2, len(surfaces), len(seeds), len(COLUMNS)))
    for i, (kind, drawn) in enumerate(surfaces):
        cost = map_surface(kind, cell.roughness, drawn)
        scenario = surface(kind, space, cost, cell.noise)
        for j, seed in enumerate(seeds):
            learner = make(space, np.random.default_rng([seed, 0]))
            chosen = np.empty((2, episodes), dtype=int)
            every = surface_episodes(scenario, learner, seed, episodes)
            for t, (index, load) in enumerate(every):
                chosen[:, t] = index, space.index(learner.best(load))
            arrivals[i, j], excess[i, j] = run_measures(*cost[chosen])
    return dict(zip(ARRAYS, (arrivals, excess), strict=True))
