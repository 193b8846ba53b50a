"""The cost of learning up to an episode: fixed radii against the adaptive one, for long.

The table `horizons` has 30 seeds on three surfaces (:func:`rrl.studies.results.make_horizons`);
``notebooks/05_adaptive_rrl`` races a few seeds again and compares. `runs.csv` has the mean cost of
each run up to each horizon, over the optimum's. `radii.csv` has the radius of each block of the
adaptive agent, at the load level that served most episodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.ndimage import map_coordinates

from rrl.core.agent import MakeAgent
from rrl.core.knob import Knob
from rrl.core.region import FixedRadius, RadiusSelection
from rrl.core.rrl import RRL, adaptive
from rrl.core.space import ConfigSpace
from rrl.studies.days import Arrays
from rrl.studies.problems import PathLike, open_scenario, surface
from rrl.studies.race import surface_episodes
from rrl.studies.scenario import Scenario

RACED = ("wide", "pool", "wide, 4 times as fine")
"""The surfaces of the table."""
HORIZONS, RADII, SEEDS = (100, 300, 1000, 3000), (0.0, 1.0, 2.0, 4.0), 30
ADAPTIVE = "adaptive"
FINER = 4  # steps of the finer grid for one of the coarse grid
DIGITS = 9  # of the numbers in the files


class RadiusRace(NamedTuple):
    """The runs of a race, and the radii of the adaptive agent in them.

    Parameters
    ----------
    runs : DataFrame
        The columns are surface, agent, seed, horizon (episodes) and cost (over the optimum's).
    radii : DataFrame
        The columns are surface, seed, levels (number of load levels that the run met), episode (the
        first of a block) and radius (steps).
    """

    runs: pd.DataFrame
    radii: pd.DataFrame


def learning_surface(name: str, data: PathLike = "data") -> Scenario:
    """Return a stored surface as a problem; with ", 4 times as fine", on a finer grid.

    There each step of a knob is four steps, between which the log costs are interpolated linearly.

    Parameters
    ----------
    name : str
        This is one of :data:`rrl.studies.problems.SURFACES`, and possibly the ending.
    data : path
        This is the folder of the surfaces.
    """
    coarse = open_scenario(name.split(",")[0], data=data)
    if "," not in name:
        return coarse
    order = [np.argsort(knob.positions) for knob in coarse.space.knobs]  # that of their effect
    logs = np.log(coarse.cost.reshape(coarse.space.shape)[np.ix_(*order)])
    axes = [np.arange((n - 1) * FINER + 1) for n in logs.shape]
    at = np.stack(np.meshgrid(*axes, indexing="ij")) / FINER
    fine = np.exp(map_coordinates(logs, at, order=1))
    space = ConfigSpace([Knob(f"knob{i}", tuple(axis.tolist())) for i, axis in enumerate(axes)])
    return surface(name, space, fine)


def race_radii(
    scenarios: Mapping[str, Scenario],
    seeds: Sequence[int],
    horizons: Sequence[int],
    radii: Sequence[float],
) -> RadiusRace:
    """Race agents with a fixed radius and the adaptive one: the same noise and load estimates.

    Parameters
    ----------
    scenarios : mapping of str to Scenario
        These are surfaces, see :func:`learning_surface`.
    seeds : sequence of int
    horizons : sequence of int
        A run is as long as the largest (episodes).
    radii : sequence of float
        These are the fixed radii (steps).
    """
    makers: dict[str, MakeAgent] = {
        f"radius {r:g}": partial(RRL, region=FixedRadius(r)) for r in radii
    }
    makers[ADAPTIVE] = adaptive
    runs, blocks, longest = [], [], max(horizons)
    for name, scenario in scenarios.items():
        for (agent, make), seed in product(makers.items(), seeds):
            learner = make(scenario.space, np.random.default_rng([seed, 0]))
            every = surface_episodes(scenario, learner, seed, longest)
            chosen = np.fromiter((index for index, _ in every), int, longest)
            served = scenario.cost[chosen] / scenario.optimum
            for horizon in horizons:
                runs.append((name, agent, seed, horizon, served[:horizon].mean().round(DIGITS)))
            if agent == ADAPTIVE:
                blocks += [(name, seed, *row) for row in _blocks(learner)]
    return RadiusRace(
        pd.DataFrame(runs, columns=["surface", "agent", "seed", "horizon", "cost"]),
        pd.DataFrame(blocks, columns=["surface", "seed", "levels", "episode", "radius"]),
    )


def _blocks(agent: Any) -> Iterator[tuple[int, int, float]]:
    """Return what :class:`RadiusRace` has of the load level that served most episodes."""
    served = max(agent.tables, key=lambda table: table.episodes).level
    selection: RadiusSelection = agent.region.selections[served]
    for episode, radius in selection.history:
        yield len(agent.tables), episode, round(radius, DIGITS)


def race_seed(
    name: str, seed: int, horizons: Sequence[int], radii: Sequence[float], data: str
) -> Arrays:
    """Race radii on a surface from one seed; each array has the rows of a table."""
    raced = race_radii({name: learning_surface(name, data)}, [seed], horizons, radii)
    words = {"surface": "U40", "agent": "U40"}  # a file of arrays keeps no objects
    return {
        table: rows.to_records(index=False, column_dtypes=words)
        for table, rows in raced._asdict().items()
    }
