"""The cost of learning up to a given episode: we judge the size of a region by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import map_coordinates

from rrl.core.agent import Agent, MakeAgent
from rrl.core.knob import Knob
from rrl.core.space import ConfigSpace
from rrl.studies.problems import SurfaceServer, surface
from rrl.studies.scenario import Scenario
from rrl.support.intervals import bootstrap_interval

Floats = NDArray[np.float64]

LOAD_NOISE = 0.1  # of the load estimates: 100 Poisson arrivals give this much


def refine(name: str, cost: ArrayLike, times: int) -> Scenario:
    """Make each knob's steps `times` times finer, by linear interpolation of the log costs.

    Parameters
    ----------
    name : str
    cost : array_like, shape (values, ..., values)
        The values are in the order of the knobs' effect.
    times : int

    Examples
    --------
    >>> refine("line", [1.0, 4.0], 2).cost.tolist()
    [1.0, 2.0, 4.0]
    """
    logs = np.log(np.asarray(cost, dtype=float))
    axes = [np.arange((n - 1) * times + 1) for n in logs.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij")) / times
    fine = np.exp(map_coordinates(logs, at, order=1))
    space = ConfigSpace([Knob(f"knob{i}", tuple(axis.tolist())) for i, axis in enumerate(axes)])
    return surface(name, space, fine)


def learn_on_surface(
    scenario: Scenario, make_agent: MakeAgent, seeds: Sequence[int], episodes: int
) -> tuple[Floats, list[Any]]:
    """Let agents learn on a surface as `rrl.studies.race` does, but without recommendations.

    Returns
    -------
    served : ndarray, shape (seeds, episodes)
        This is the true cost of the configuration that served, divided by the optimum's.
    agents : list
        There is one agent per seed, in its state at the end.
    """
    agents, rows = [], []
    for seed in seeds:
        agent = make_agent(scenario.space, np.random.default_rng([seed, 0]))
        every = surface_episodes(scenario, agent, seed, episodes)
        chosen = np.fromiter((index for index, _ in every), int, episodes)
        rows.append(scenario.cost[chosen] / scenario.optimum)
        agents.append(agent)
    return np.array(rows), agents


def surface_episodes(
    scenario: Scenario, agent: Agent, seed: int, episodes: int
) -> Iterator[tuple[int, float]]:
    """Let an agent learn on a surface; yield the configuration that served, and the load (1/s).

    Agents with the same seed meet the same noise and the same load estimates.
    """
    server = scenario.server
    if not isinstance(server, SurfaceServer):
        raise ValueError(f"{scenario.name} is not a surface: use rrl.studies.race")
    normal = np.random.default_rng([seed, 1]).standard_normal((2, episodes))
    noise = np.maximum(1 + server.noise * normal[0], 0.1).tolist()
    loads = (scenario.workload.rate * np.exp(LOAD_NOISE * normal[1])).tolist()
    costs, space = scenario.cost.tolist(), scenario.space
    for factor, load in zip(noise, loads, strict=True):
        configuration = agent.ask(load)
        index = space.index(configuration)
        agent.tell(configuration, costs[index] * factor)
        yield index, load


def by_horizon(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the median over the seeds of the mean cost up to each horizon, with its interval.

    Parameters
    ----------
    runs : DataFrame
        It has a row per run and horizon, with the columns agent, horizon (episodes) and cost.
    rng : numpy.random.Generator
        The bootstrap uses it.

    Returns
    -------
    DataFrame
        It has one row per agent and horizon, with the columns agent, horizon, centre, low, high.

    Examples
    --------
    >>> runs = pd.DataFrame({"agent": "a", "horizon": 10, "cost": [1.0, 2.0, 3.0]})
    >>> by_horizon(runs, np.random.default_rng(0)).values.tolist()
    [['a', 10, 2.0, 1.0, 3.0]]
    """
    rows = [
        (*of, *bootstrap_interval(costs.to_numpy(), rng))
        for of, costs in runs.groupby(["agent", "horizon"], sort=False)["cost"]
    ]
    return pd.DataFrame(rows, columns=["agent", "horizon", "centre", "low", "high"])


def against_best_fixed(table: pd.DataFrame, adaptive: str) -> pd.DataFrame:
    """Divide each median by that of the best other agent, chosen in hindsight per horizon."""
    wide = table.pivot(index="agent", columns="horizon", values="centre")
    return wide / wide.drop(index=adaptive).min()
