"""Places on the map of regions: every simulated and recorded grid, and what happens there.

A place has a roughness and a noise (:mod:`rrl.studies.roughness`). There `rrl` and Q-learning run
with the settings of the nearest cell, for a tolerance of 10 %. Agents replay one half of a
recording and are judged by the other; both ways are run. The reference of a recording is the
judged cost of the configuration that is best in the replayed half: no agent can know more.

`places.csv` says where each place lies, and which fraction of its configurations is within each
tolerance. `place_runs.csv` has the runs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.profile import read_profile
from rrl.studies.behaviour import label
from rrl.studies.map_cells import ARRAYS, COLUMNS, TOLERANCES, agent_with, run_measures
from rrl.studies.map_factors import CELL, MIDDLE, RIVAL, chosen_settings, nearest_cell
from rrl.studies.race import race
from rrl.studies.roughness import (
    episode_noise,
    half_of_profile,
    one_step_pairs,
    roughness,
    simulated_noise,
    smooth_level,
)
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Setting
from rrl.studies.sweeps import Sweep, Task, piece_key, problem, setting_key
from rrl.support.machine import one_thread

if TYPE_CHECKING:
    import pandas as pd

    from rrl.studies.sweep_store import Arrays

Place = tuple[str, float]
"""A testbed or a profile, and a load in requests per second."""

SIMULATED = {
    "cpu10": (8.3, 12.5, 16.7),
    "gpu": (200.0, 500.0, 900.0),
    "cpu2": (60.0, 115.0, 165.0),
    "cpu2-joint": (60.0, 115.0, 165.0),
}
RECORDED = (
    *("mobilenet_v2-threads", "mobilenet_v2-busy", "inception_v3-threads"),
    *("mobilenet_v2-batching", "keyword-threads", "mobilenet_v2-joint-279"),
)
NOISE_EPISODES = 40  # per configuration, for the noise of a simulated place


def all_places(data: str | os.PathLike[str]) -> list[Place]:
    """Return every place: the simulated testbeds, and the profiles in a folder."""
    recorded = {name: read_profile(Path(data) / name).rates_per_s for name in RECORDED}
    return [(name, load) for name, loads in (SIMULATED | recorded).items() for load in loads]


def place_name(testbed: str, load: float) -> str:
    """Return the name of a place in the tables; a half of a recording has that of the whole.

    Examples
    --------
    >>> place_name("keyword-threads/1", 900.0)
    'keyword-threads 900'
    """
    return f"{testbed.partition('/')[0]} {load:g}"


class Places:
    """The problems of some places, with their truths.

    Parameters
    ----------
    places : sequence of Place
    sweep : Sweep
        It computes and keeps the truths and the runs.
    progress : bool, optional
    """

    def __init__(self, places: Sequence[Place], sweep: Sweep, progress: bool = True) -> None:
        self.places, self.sweep, self.progress = places, sweep, progress
        halves = [(f"{name}/1", load) for name, load in places if name in RECORDED]
        wanted = (*places, *halves)
        scenarios = sweep.of([Setting(*one, "rrl", 1, 1) for one in wanted]).scenarios(progress)
        self.problems: dict[Place, Scenario] = {where: scenarios[where] for where in wanted}

    def measure(self) -> pd.DataFrame:
        """Return where each place lies: the table `places.csv`."""
        import pandas as pd

        within = [f"within_{100 * tolerance:g}" for tolerance in TOLERANCES]
        rows = []
        for name, load in self.places:
            where = self.problems[name, load]
            pairs = one_step_pairs(where.space)
            judged = [over_reference(where)]
            if name in RECORDED:
                judged.append(over_reference(self.problems[f"{name}/1", load]))
                profile = read_profile(Path(self.sweep.data) / name)
                halves = [half_of_profile(profile, load, half) for half in (0, 1)]
                level = smooth_level(halves[0].means, halves[1].means, pairs)
                rough = roughness(halves[0].means, halves[1].means, pairs, level)
                noise = episode_noise(halves[0], halves[1], level)
            else:
                rough = roughness(where.cost, where.cost, pairs)
                noise = simulated_noise(where, NOISE_EPISODES, np.random.default_rng(0))
            near = [float(np.mean(np.array(judged) <= 1 + most)) for most in TOLERANCES]
            numbers = (round(number, 4) for number in (float(rough), float(noise), *near))
            rows.append((place_name(name, load), len(where.space), *numbers))
        return pd.DataFrame(rows, columns=["place", "cells", *CELL, *within])

    def race(
        self, at: pd.DataFrame, tuning: pd.DataFrame, seeds: Sequence[int], episodes: int
    ) -> pd.DataFrame:
        """Return the runs: the table `place_runs.csv`.

        Parameters
        ----------
        at : DataFrame
            See :meth:`measure`.
        tuning : DataFrame
            See :mod:`rrl.studies.region_map`.
        seeds, episodes
            See :func:`rrl.studies.race.race`.
        """
        import pandas as pd

        chosen = chosen_settings(tuning).set_index([*CELL, "agent", "column"])["setting"]
        tuned = set(chosen.index.droplevel(["agent", "column"]))
        cells = {
            row.place: nearest_cell(row.roughness, row.noise, tuned) for row in at.itertuples()
        }
        tasks: dict[tuple[Any, ...], Task] = {}
        for (testbed, load), where in self.problems.items():
            place, half = place_name(testbed, load), int(testbed.partition("/")[2] or 0)
            for agent, column in product(("rrl", RIVAL), MIDDLE):
                setting = chosen[(*cells[place], agent, column)]
                how = testbed, load, agent, setting, tuple(seeds), episodes
                tasks[place, half, agent, column, setting] = self._task(where, how)
        distinct = {task.key: task for task in tasks.values()}
        pieces = self.sweep.compute(list(distinct.values()), self.progress)
        rows = []
        for key, task in tasks.items():
            number = COLUMNS.index(key[3])
            columns = (pieces[task.key][name][:, number].tolist() for name in ARRAYS)
            rows += [(*key, *run) for run in zip(seeds, *columns, strict=True)]
        names = ["place", "half", "agent", "column", "setting", "seed", "episodes", "excess"]
        return pd.DataFrame(rows, columns=names)

    def _task(self, where: Scenario, how: tuple[Any, ...]) -> Task:
        testbed, load, agent, _, seeds, episodes = how
        key = setting_key(Setting(testbed, load, agent, len(seeds), episodes), self.sweep.data)
        cost = over_reference(where)
        name = piece_key("place", how, cost.round(9).tolist(), key, label("judge map"))
        return Task(name, run_place, (*how, cost, self.sweep.data))


def over_reference(where: Scenario) -> np.ndarray:
    """Return true costs over the best; on a recording, over the best that an agent can know."""
    return where.cost / (where.optimum * where.ceiling)


def run_place(
    testbed: str,
    load: float,
    agent: str,
    setting: str,
    seeds: Sequence[int],
    episodes: int,
    cost: np.ndarray,
    data: str,
) -> Arrays:
    """Run an agent at a place from each seed, and measure it by true costs over the reference."""
    with one_thread():
        runs = race(problem(testbed, load, data), agent_with(agent, setting), seeds, episodes)
    both = zip(cost[runs.chosen], cost[runs.recommended], strict=True)
    measured = np.array([run_measures(*costs) for costs in both])
    return dict(zip(ARRAYS, measured.swapaxes(0, 1), strict=True))
