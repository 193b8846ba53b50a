"""The map "when does a region pay?": its runs, its places, and the tables that they make.

:func:`make_map` tunes each agent in each cell of the map, judges the tuned agents on other
surfaces, and places every simulated and recorded grid on the map: the table ``region-map``.
Stopped, it goes on where it was: the pieces stay under ``build/results``.

`data/results/README.md` has the rules, which were fixed before the map was computed, and the
columns of the files. :mod:`rrl.studies.map_cells` has the surfaces, the settings and the measures,
and :mod:`rrl.studies.map_factors` what follows from the runs.

At a place, `rrl` and Q-learning run with the settings of the nearest cell, for the middle
tolerance. Each half of a recording is replayed, and the other one judges. The reference of a
recording is the best that an agent can know (:attr:`rrl.studies.scenario.Scenario.ceiling`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rrl.core.space import Floats
from rrl.recording.profile import read_profile
from rrl.studies.behaviour import versioned
from rrl.studies.map_cells import (
    COLUMNS,
    JUDGING_KINDS,
    TOLERANCES,
    TUNING_KINDS,
    agent_settings,
    agent_with,
    run_cell,
    run_measures,
)
from rrl.studies.map_factors import (
    CELL,
    MIDDLE,
    NOISES,
    RIVAL,
    ROUGHNESSES,
    chosen_settings,
    nearest_cell,
    typical,
)
from rrl.studies.problems import half_of
from rrl.studies.roughness import axes
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Setting
from rrl.studies.sweep_store import key_of, result_key
from rrl.studies.sweeps import Sweep, Task, run_setting

Scenarios = Mapping[Any, Scenario]  # by place, and by the second half of a recording

SIMULATED = {
    "cpu10": (8.3, 12.5, 16.7),
    "gpu": (200.0, 500.0, 900.0),
    "cpu2": (60.0, 115.0, 165.0),
    "cpu2-joint": (60.0, 115.0, 165.0),
}
RECORDED = (
    *("mobilenet_v2-threads", "mobilenet_v2-busy", "inception_v3-threads"),
    *("mobilenet_v2-batching", "keyword-threads", "mobilenet_v2-joint-279", "keyword-joint"),
)

JUDGING_EPISODES = 3000
FILES = ("tuning", "runs", "places", "place_runs")


class Tried(NamedTuple):
    """A cell, an agent, and one of its :func:`rrl.studies.map_cells.agent_settings`."""

    roughness: float
    noise: float
    agent: str
    setting: str


class Stage(NamedTuple):
    """The runs of each setting in each cell: on which kinds of surface, the seeds, and how long.

    There is one surface of each kind, drawn from the first seed.
    """

    kinds: tuple[str, ...]
    seeds: range
    episodes: int


class Plan(NamedTuple):
    """All runs of a map: what the tuning tries, its stage and that of the judging, the places.

    A place is a testbed or a profile, and a load in requests per second.
    """

    tried: Sequence[Tried]
    tuning: Stage
    judging: Stage
    places: Sequence[tuple[str, float]]


def place_name(testbed: str, load: float) -> str:
    """Return the name of a place in the tables; a half of a recording has that of the whole.

    Examples
    --------
    >>> place_name("keyword-threads/1", 900.0)
    'keyword-threads 900'
    """
    return f"{half_of(testbed)[0]} {load:g}"


def _measure_places(scenarios: Scenarios) -> pd.DataFrame:
    """Return where each place lies: the table `places.csv`."""
    rows = []
    for (name, load), first in scenarios.items():
        if half_of(name)[1]:
            continue  # it is in the row of the first half
        second = scenarios.get((f"{name}/1", load))
        judged = np.array([_over_reference(one) for one in (first, second) if one])
        near = [float(np.mean(judged <= 1 + most)) for most in TOLERANCES]
        numbers = (round(number, 4) for number in (*axes(first), *near))
        rows.append((place_name(name, load), len(first.space), *numbers))
    within = [f"within_{100 * tolerance:g}" for tolerance in TOLERANCES]
    return pd.DataFrame(rows, columns=["place", "cells", *CELL, *within])


def _race_places(
    scenarios: Scenarios,
    at: pd.DataFrame,
    tuning: pd.DataFrame,
    stage: Stage,
    sweep: Sweep,
) -> pd.DataFrame:
    """Return the runs at places, with the seeds and the episodes of a stage: `place_runs.csv`.

    For `at`, see :func:`_measure_places`; for `tuning`, :mod:`rrl.studies.region_map`.
    """
    chosen = chosen_settings(tuning).set_index([*CELL, "agent", "column"])["setting"]
    tuned = set(chosen.index.droplevel(["agent", "column"]))
    cells = {row.place: nearest_cell(row.roughness, row.noise, tuned) for row in at.itertuples()}
    raced, tasks = [], []
    for (testbed, load), scenario in scenarios.items():
        place, half = place_name(testbed, load), half_of(testbed)[1]
        for agent, column in product(("rrl", RIVAL), MIDDLE):
            setting = chosen[(*cells[place], agent, column)]
            spec = Setting(testbed, load, agent, len(stage.seeds), stage.episodes)
            spec = spec._replace(first_seed=stage.seeds[0])
            about = "place", spec, setting, result_key(spec, sweep.data), versioned("judge map")
            tasks.append(Task(about, run_setting, (spec, sweep.data, agent_with(agent, setting))))
            head = place, half, agent, column, setting
            raced.append((head, COLUMNS.index(column), _over_reference(scenario)))
    rows = []
    for (head, number, cost), runs in zip(raced, sweep.compute_pieces(tasks), strict=True):
        for seed, *actions in zip(stage.seeds, runs["chosen"], runs["recommended"], strict=True):
            rows.append((*head, seed, *run_measures(*cost[np.array(actions)])[:, number].tolist()))
    names = ["place", "half", "agent", "column", "setting", "seed", "episodes", "excess"]
    return pd.DataFrame(rows, columns=names)


def _over_reference(scenario: Scenario) -> Floats:
    """Return true costs over the best, or on a recording over its reference."""
    return scenario.cost / (scenario.optimum * scenario.ceiling)


def whole_plan(data: str | os.PathLike[str] = "data") -> Plan:
    """Return the plan of the published map; the deep Q-network is in its four corners only.

    The places are all loads of the simulated testbeds, and of the profiles in a folder.
    """
    corners = set(product(ROUGHNESSES[:: len(ROUGHNESSES) - 1], NOISES[::3]))
    tried = [
        Tried(*cell, agent, setting)
        for cell in product(ROUGHNESSES, NOISES)
        for agent, settings in agent_settings().items()
        if agent != "deep-q-network" or cell in corners
        for setting in settings
    ]
    recorded = {name: read_profile(Path(data) / name).rates_per_s for name in RECORDED}
    return Plan(
        tried,
        Stage(TUNING_KINDS, range(71_000, 71_004), 1000),
        Stage(JUDGING_KINDS, range(91_000, 91_006), JUDGING_EPISODES),
        [(name, load) for name, loads in (SIMULATED | recorded).items() for load in loads],
    )


def _tune_cells(plan: Plan, sweep: Sweep) -> pd.DataFrame:
    """Return how each setting did in each cell: the table `tuning.csv`."""
    rows = []
    for key, (arrivals, excess) in _runs_of(plan.tried, plan.tuning, sweep).items():
        medians = typical(np.moveaxis(arrivals, -1, 0))
        never = np.isinf(arrivals).mean(axis=(0, 1)).round(4)
        numbers = zip(medians, never, excess.mean(axis=(0, 1)).round(3), strict=True)
        rows.append((*key, *(number for three in numbers for number in three)))
    names = [f"{column}{end}" for column in COLUMNS for end in ("", "_never", "_excess")]
    return pd.DataFrame(rows, columns=[*CELL, "agent", "setting", *names])


def _judge_cells(plan: Plan, sweep: Sweep, tuning: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of the chosen settings on the judging surfaces: the table `runs.csv`."""
    chosen = chosen_settings(tuning)[[*CELL, "agent", "setting"]].drop_duplicates()
    wanted = list(map(Tried._make, chosen.itertuples(index=False, name=None)))
    rows = [
        (*key, kind, seed, *arrivals[i, j], *excess[i, j].round(3))
        for key, (arrivals, excess) in _runs_of(wanted, plan.judging, sweep).items()
        for i, kind in enumerate(plan.judging.kinds)
        for j, seed in enumerate(plan.judging.seeds)
    ]
    names = [*COLUMNS, *(f"{column}_excess" for column in COLUMNS)]
    return pd.DataFrame(rows, columns=[*CELL, "agent", "setting", "surface", "seed", *names])


def _runs_of(wanted: Sequence[Tried], stage: Stage, sweep: Sweep) -> dict[Tried, np.ndarray]:
    """Return arrivals and excess, shape (2, kinds, seeds, 6); the runs on a surface are a piece."""
    tasks = []
    for tried, kind in product(wanted, stage.kinds):
        arguments = *tried, kind, stage.seeds[0], tuple(stage.seeds), stage.episodes
        versions = key_of((f"agent {tried.agent}", "judge map"), (), sweep.data)
        tasks.append(Task(("map", arguments, versions), run_cell, arguments))
    measures = np.array([one["measures"] for one in sweep.compute_pieces(tasks)])
    of_keys = measures.reshape(len(wanted), len(stage.kinds), *measures.shape[1:])
    return dict(zip(wanted, np.moveaxis(of_keys, 3, 1), strict=True))


def make_map(sweep: Sweep, plan: Plan | None = None) -> dict[str, pd.DataFrame]:
    """Make the runs of a plan that are missing, by default the whole one; return the `FILES`."""
    plan = plan or whole_plan(sweep.data)
    tuning = _tune_cells(plan, sweep)
    runs = _judge_cells(plan, sweep, tuning)
    halves = [(f"{name}/1", load) for name, load in plan.places if name in RECORDED]
    places = [Setting(*one, "rrl", 1, 1) for one in (*plan.places, *halves)]
    build = sweep.folder.parent
    other = Sweep(places, data=sweep.data, build=build, workers=sweep.workers)
    scenarios = other.scenarios()
    at = _measure_places(scenarios)
    raced = _race_places(scenarios, at, tuning, plan.judging, sweep)
    return dict(zip(FILES, (tuning, runs, at, raced), strict=True))
