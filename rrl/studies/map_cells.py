"""One cell of the map of regions: surfaces of one roughness under one noise, and agents on them.

A kind of surface is a function of the knobs' positions, with random constants. It gives log costs
up to a factor, and :func:`map_surface` chooses this factor so that neighbours differ as much as
wanted (:func:`rrl.studies.roughness.roughness`). Not every draw can be that rough, because only
configurations below twice the best count. Then the surface is drawn again.

==========  ====================================================================================
kind        log cost, from 0 to 10 along each of three axes
==========  ====================================================================================
``bowl``    the squared distance from a point, with a weight per axis
``cone``    the distance from a point, with a weight per axis
``hills``   a smooth random field
``valley``  a bowl along a curved valley
``basins``  two bowls, of which one is deeper
``threads`` work that is shared by threads, and an overhead per thread
``ridge``   best where the product of the numbers of threads fits the machine
``rugged``  a bowl and a random field of half its steps
==========  ====================================================================================

:func:`run_measures` says when a run arrived. What is *served* arrives with the first episode from
which on every mean over `WINDOW` consecutive episodes is within the tolerance of the best. What is
*recommended* arrives with the first episode from which on every configuration that the agent would
deploy is. Both count true costs. An arrival in the last tenth of a run counts as never: a stay so
short is no evidence.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from rrl.core.exploration import Boltzmann
from rrl.core.region import FixedRadius
from rrl.core.space import ConfigSpace, Floats, Ints
from rrl.rivals.agents import maker
from rrl.studies.problems import surface
from rrl.studies.race import stays_from, surface_episodes
from rrl.studies.roughness import low_costs, one_step_pairs, roughness
from rrl.tuning.loop import MakeAgent
from rrl.tuning.presets import paper_cpu

ATTEMPTS = 200
"""Draws of a surface before it is given up."""

HIGHEST = 100.0
"""The highest cost over the best: a client gives up after that."""

CLOSE, LEAST_PAIRS = 0.02, 3
"""The fraction by which a roughness may be off, and the pairs that it must rest on."""

AMPLITUDES = np.geomspace(1e-2, 1e3, 150)
"""Log costs of the worst configuration among which the factor is sought."""


@cache
def paper_grid() -> tuple[ConfigSpace, Ints]:
    """Return the paper's grid of 1331 configurations, and its pairs of neighbours."""
    space = paper_cpu()
    return space, one_step_pairs(space)


def _bowl(x: Floats, rng: np.random.Generator) -> Floats:
    return (x - rng.uniform(1, 9, 3)) ** 2 @ rng.lognormal(0, 0.5, 3)


def _field(x: Floats, rng: np.random.Generator, length: float) -> Floats:
    smooth = gaussian_filter(rng.standard_normal((11, 11, 11)), length, mode="nearest")
    return map_coordinates(smooth, x.T, order=1)


def _valley(x: Floats, rng: np.random.Generator) -> Floats:
    along, across, third = (x - rng.uniform(2, 8, 3)).T
    return 0.1 * along**2 + (across - rng.uniform(0.05, 0.15) * along**2) ** 2 + 0.4 * third**2


def _basins(x: Floats, rng: np.random.Generator) -> Floats:
    deep, other = _bowl(x, rng), _bowl(x, rng)
    return np.minimum(deep, other + rng.uniform(0.05, 0.3) * deep.max())


def _threads(x: Floats, rng: np.random.Generator) -> Floats:
    work, overhead = rng.lognormal(0, 0.5, 3), rng.uniform(0.02, 0.1, 3)
    return np.log((1 / (1 + x)) @ work + x @ overhead)


def _ridge(x: Floats, rng: np.random.Generator) -> Floats:
    demand = np.log1p(x) @ rng.uniform(0.5, 1.5, 3)
    away = ((x - rng.uniform(2, 8, 3)) ** 2).sum(axis=1)
    return (demand - rng.uniform(0.4, 0.7) * demand.max()) ** 2 + 0.01 * away


def _rugged(x: Floats, rng: np.random.Generator) -> Floats:
    bowl, field, pairs = _bowl(x, rng), _field(x, rng, 1.0), paper_grid()[1]
    steps = [np.sqrt(np.mean(np.diff(values[pairs], axis=1) ** 2)) for values in (bowl, field)]
    return bowl + 0.5 * steps[0] / steps[1] * field


_KINDS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "bowl": _bowl,
    "cone": lambda x, rng: np.sqrt(_bowl(x, rng)),
    "hills": lambda x, rng: _field(x, rng, 2.0),
    "valley": _valley,
    "basins": _basins,
    "threads": _threads,
    "ridge": _ridge,
    "rugged": _rugged,
}
TUNING_KINDS, JUDGING_KINDS = tuple(_KINDS)[:3], tuple(_KINDS)[3:]


@cache
def map_surface(kind: str, wanted: float, seed: int) -> Floats:
    """Draw a surface of some kind and roughness on the paper's grid.

    Parameters
    ----------
    kind : str
        One of `TUNING_KINDS` or `JUDGING_KINDS`.
    wanted : float
        The fraction by which neighbours differ, see :func:`rrl.studies.roughness.roughness`.
    seed : int

    Returns
    -------
    ndarray, shape (1331,)
        Costs, of which the lowest is 1.

    Raises
    ------
    ValueError
        If no draw is that rough.

    Examples
    --------
    >>> cost = map_surface("bowl", 0.05, seed=1)
    >>> cost.shape, round(roughness(cost, cost, paper_grid()[1]), 3)
    ((1331,), 0.05)
    """
    space, pairs = paper_grid()
    number = tuple(_KINDS).index(kind)
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([seed, number, attempt])
        logs = _KINDS[kind](space.positions, rng)
        cost = _scaled(logs - logs.min(), wanted, pairs)
        if cost is not None:
            cost.flags.writeable = False  # it is shared with the next caller
            return cost
    raise ValueError(f"no surface of the kind {kind!r} has a roughness of {wanted:g}")


def _scaled(logs: Floats, wanted: float, pairs: Ints) -> Floats | None:
    """Return costs with the wanted roughness; None if no factor of the log costs gives it."""
    unit = logs / logs.max()

    def costs(amplitude: float) -> Floats:
        return np.exp(np.minimum(amplitude * unit, np.log(HIGHEST)))

    def rough(amplitude: float) -> float:
        cost = costs(amplitude)
        near = low_costs(cost)[pairs].all(axis=1).sum()
        return roughness(cost, cost, pairs) if near >= LEAST_PAIRS else np.nan

    values = np.array([rough(amplitude) for amplitude in AMPLITUDES])  # it falls again at last
    for k in np.flatnonzero((values[:-1] < wanted) & (values[1:] >= wanted)):
        low, high = AMPLITUDES[k], AMPLITUDES[k + 1]
        for _ in range(30):
            middle = np.sqrt(low * high)
            low, high = (low, middle) if rough(middle) >= wanted else (middle, high)
        if abs(rough(high) / wanted - 1) <= CLOSE:
            return costs(high)
    return None


# --- agents, and what a run is measured by --------------------------------------------------------

WINDOW = 20
"""Episodes of a mean."""
LATEST = 0.9
"""A later arrival, as a fraction of the run, counts as never."""

MEASURES = ("served", "recommended")
TOLERANCES = (0.05, 0.1, 0.2)
COLUMNS = tuple(
    f"{measure}_{100 * tolerance:g}" for measure in MEASURES for tolerance in TOLERANCES
)
"""What a run is measured by: the names of the columns of all tables."""


def agent_settings() -> dict[str, list[str]]:
    """Return the settings of each agent that the tuning tries, as JSON.

    Examples
    --------
    >>> {agent: len(settings) for agent, settings in agent_settings().items()}
    {'rrl': 36, 'rrl-adaptive': 12, 'q-learning': 36, 'deep-q-network': 12}
    """
    temperatures = (0.01, 0.002, 50), (0.02, 0.005, 50), (0.1, 0.005, 100)
    explored = [(1.0, end, life) for end in (0.0, 0.02, 0.1) for life in (5, 15, 50, 150)]
    deep = [(1.0, end, life) for end in (0.0, 0.02) for life in (15, 50)]  # life: the half-life
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
    changes = json.loads(setting)
    if "temperature" in changes:
        changes["exploration"] = Boltzmann(*changes.pop("temperature"))
    if agent == "rrl":
        changes["region"] = FixedRadius(changes.pop("radius"))
    return maker(agent, **changes)


def run_measures(served: Floats, recommended: Floats) -> Floats:
    """Measure one run, in the order of `COLUMNS`.

    Parameters
    ----------
    served, recommended : ndarray, shape (episodes,)
        True costs over the best.

    Returns
    -------
    ndarray, shape (2, 6)
        First the episodes until the arrival, counted from 1; infinite if there is none. Then the
        excess: what was served before the arrival, or in the whole run, above the best. It is the
        sum over the episodes in units of the best cost.

    Examples
    --------
    >>> costs = np.where(np.arange(200) < 30, 2.0, 1.0)
    >>> arrivals, excess = run_measures(costs, costs)
    >>> arrivals.tolist(), excess.tolist()
    ([30.0, 29.0, 27.0, 31.0, 31.0, 31.0], [29.0, 28.0, 26.0, 30.0, 30.0, 30.0])
    """
    episodes, window = len(served), min(WINDOW, len(served))
    means = np.convolve(served, np.full(window, 1 / window), "valid")
    first = np.array(
        [
            stays_from(costs <= 1 + tolerance + 1e-9)
            for costs in (means, recommended)
            for tolerance in TOLERANCES
        ]
    )
    arrivals = np.where(first <= LATEST * episodes, first, np.inf)
    above = np.concatenate([[0.0], np.cumsum(served - 1)])
    before = np.minimum(arrivals - 1, episodes).astype(int)  # the whole run, without an arrival
    return np.array([arrivals, above[before]])


def run_cell(
    rough: float,
    noise: float,
    agent: str,
    setting: str,
    kind: str,
    drawn: int,
    seeds: Sequence[int],
    episodes: int,
) -> dict[str, Floats]:
    """Run an agent on a surface of a cell, from each seed.

    A cell is how much neighbours differ, and the noise of an episode (fractions). For `agent` and
    `setting`, see :func:`agent_settings`, and for `kind` and `drawn`, the seed of the surface,
    :func:`map_surface`. Agents with the same seed meet the same noise and the same load estimates.

    Returns
    -------
    dict of str to ndarray
        ``measures`` of :func:`run_measures`, shape (seeds, 2, 6).
    """
    space, make, found = paper_grid()[0], agent_with(agent, setting), []
    cost = map_surface(kind, rough, drawn)
    scenario = surface(kind, space, cost, noise)
    for seed in seeds:
        learner = make(space, np.random.default_rng([seed, 0]))
        chosen = np.empty((2, episodes), dtype=int)
        for t, (index, load) in enumerate(surface_episodes(scenario, learner, seed, episodes)):
            chosen[:, t] = index, space.index(learner.best(load))
        found.append(run_measures(*cost[chosen]))
    return {"measures": np.array(found)}
