"""Pieces of a sweep: what a worker process runs, and what the result depends on.

A piece is one setting with a few seeds, or the truth of one problem. Its key names the versions of
the agent, the problem, the load and the judge, the data, and the locked numerical packages.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from rrl.recording.profile import DESCRIPTION, EPISODES
from rrl.recording.replay import replayed
from rrl.rivals import agents
from rrl.studies.behaviour import label, problem_name
from rrl.studies.days import KNOWING, Day
from rrl.studies.problems import SURFACES, half_of, open_scenario
from rrl.studies.race import race
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Load, Setting, workload
from rrl.studies.sweep_store import Arrays, Key
from rrl.studies.truths import find_truth
from rrl.support.machine import one_thread
from rrl.support.provenance import NUMERICAL, digest, locked
from rrl.tuning.constrained import most_cpus
from rrl.tuning.objective_names import parse_objective

LOOP = "judge loop", "judge objectives"


@lru_cache(maxsize=64)
def problem(testbed: str, load: Load, data: str) -> Scenario:
    """Open the problem of a setting, without its truth; later calls return the same one."""
    return open_scenario(testbed, workload(load), data)


def run_piece(setting: Setting, seeds: Sequence[int], data: str) -> Arrays:
    """Race one setting from some seeds.

    Returns
    -------
    dict of str to ndarray, shape (seeds, episodes)
        ``chosen`` and ``recommended`` are those of :class:`rrl.studies.race.Race`. ``costs`` (s for
        a latency) has single precision, so that it can be stored: the seventh digit is rounded.
    """
    with one_thread():
        scenario = problem(*setting.problem, data)
        objective = parse_objective(setting.objective, most_cpus(scenario.space))
        make = agents.maker(setting.agent)
        runs = race(scenario, make, seeds, setting.episodes, objective=objective)
    costs = np.asarray(runs.costs, dtype=np.float32)
    return {"chosen": runs.chosen, "recommended": runs.recommended, "costs": costs}


def run_truth(testbed: str, load: Load, episodes: int, replications: int, data: str) -> Arrays:
    """Find the truth of one problem, as :class:`rrl.studies.scenario.Truth` has it."""
    where = problem(testbed, load, data)
    return find_truth(where, replications=replications, episodes=episodes)._asdict()


def setting_key(setting: Setting, data: str) -> Key:
    """Return what a run of a setting depends on, besides the setting itself."""
    kind = "Poisson" if isinstance(setting.load, int | float) else setting.load[0]
    names = f"agent {setting.agent}", problem_name(setting.testbed), f"load {kind}", *LOOP
    return (*map(label, names), *data_key(setting.testbed, data, judged=False), packages())


def truth_key(testbed: str, load: Load, data: str) -> Key:
    """Return what the truth of a problem depends on, besides its arguments."""
    kind = "Poisson" if isinstance(load, int | float) else load[0]
    names = problem_name(testbed), f"load {kind}", "judge truth"
    return (*map(label, names), *data_key(testbed, data, judged=True), packages())


def day_key(day: Day, data: str) -> Key:
    """Return what a run of a day depends on, besides the day itself."""
    agent = () if day.agent == KNOWING else (f"agent {day.agent}",)
    names = *agent, problem_name(day.testbed), "problem day", "judge loop"
    judged = Path(data) / half_of(day.testbed)[0] / EPISODES
    read = (f"data {digest(judged)[:12]}",) if judged.exists() else ()
    return (*map(label, names), *read, packages())


def packages() -> str:
    """Return the locked versions of the packages that can change a number, as one name."""
    text = json.dumps(locked(NUMERICAL), sort_keys=True)
    return f"packages {hashlib.sha256(text.encode()).hexdigest()[:12]}"


def data_key(testbed: str, data: str, judged: bool) -> Key:
    """Return the digest of the data of a testbed: what is replayed, or all of the recording."""
    name, half = half_of(testbed)
    where = Path(data) / name
    if where.is_dir() and judged:
        read = "".join(digest(where / file) for file in (DESCRIPTION, EPISODES))
        return (f"data {hashlib.sha256(read.encode()).hexdigest()[:12]}",)
    if where.is_dir():
        return (f"data {replayed(where, half)[:12]}",)
    surfaces = Path(data) / "surfaces" / "surfaces.npz"
    return (f"data {digest(surfaces)[:12]}",) if name in SURFACES and surfaces.exists() else ()
