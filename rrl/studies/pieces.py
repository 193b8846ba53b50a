"""Pieces of a sweep: what a worker process runs, and what the result depends on.

A piece is one setting with a few seeds, or the truth of one problem. Its digest covers the setting,
the code that it runs, the data that it reads, and the versions of the numerical packages in the
lock. Comments and docstrings do not count.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rrl.recording.profile import DESCRIPTION, EPISODES
from rrl.recording.replay import replayed
from rrl.rivals import agents
from rrl.studies.problems import SURFACES, half_of, open_scenario
from rrl.studies.race import race
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Load, Setting, workload
from rrl.studies.truths import find_truth
from rrl.support.machine import one_thread
from rrl.support.provenance import (
    NUMERICAL,
    PACKAGE,
    code_behind,
    code_digest,
    digest,
    locked,
    without_words,
)
from rrl.tuning.constrained import most_cpus
from rrl.tuning.objective_names import parse_objective
from rrl.tuning.presets import paper_cpu

Arrays = dict[str, NDArray[Any]]

_SERVERS = (
    "rrl.simulation.testbeds",
    "rrl.recording.replay",
    "rrl.workloads.modulated",
    "rrl.workloads.workload",
)
_SIMULATION = PACKAGE / "simulation"


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
    costs = runs.costs.astype(np.float32)
    return {"chosen": runs.chosen, "recommended": runs.recommended, "costs": costs}


def run_truth(testbed: str, load: Load, episodes: int, replications: int, data: str) -> Arrays:
    """Find the truth of one problem, as :class:`rrl.studies.scenario.Truth` has it."""
    where = problem(testbed, load, data)
    return find_truth(where, replications=replications, episodes=episodes)._asdict()


def setting_digest(setting: Setting, data: str) -> str:
    """Return the digest of all that a run of a setting depends on, its seed left out."""
    modules = "rrl.studies.pieces", *_SERVERS, *_modules_of(setting.agent)
    where = Path(data) / half_of(setting.testbed)[0]
    read = replayed(where, half_of(setting.testbed)[1]) if where.is_dir() else ""
    if setting.testbed in SURFACES:
        read = digest(Path(data) / "surfaces" / "surfaces.npz")
    made = agents.home(setting.agent), agents.SETTINGS.get(setting.agent)
    code = _code(modules, simulated=not read)
    return _digest("runs", setting._replace(seeds=0), made, code, read)


def truth_digest(testbed: str, load: Load, episodes: int, replications: int, data: str) -> str:
    """Return the digest of all that the truth of a problem depends on."""
    where = Path(data) / half_of(testbed)[0]
    read = [digest(where / name) for name in (DESCRIPTION, EPISODES) if where.is_dir()]
    code = _code(("rrl.studies.pieces", *_SERVERS), simulated=not read)
    return _digest("truth", testbed, load, episodes, replications, code, read)


def _digest(*about: Any) -> str:
    text = json.dumps([about, locked(NUMERICAL)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@lru_cache(maxsize=64)
def _code(modules: tuple[str, ...], simulated: bool) -> str:
    """Return the digest of the code behind modules; a recording does not run the simulator.

    Of the list of all agents, only the function that makes one counts. So a new agent does not
    outdate the results of the others.
    """
    files = code_behind(*modules) - {Path(agents.__file__)}
    if not simulated:
        files = frozenset(path for path in files if not path.is_relative_to(_SIMULATION))
    return code_digest(files, PACKAGE) + without_words(inspect.getsource(agents.maker))


@lru_cache(maxsize=64)
def _modules_of(agent: str) -> tuple[str, ...]:
    """Make an agent, and return the modules of its maker, its class and its parts' classes."""
    made = agents.maker(agent)(paper_cpu(2), np.random.default_rng(0))
    modules = {type(part).__module__ for part in (made, *vars(made).values())}
    modules.add(agents.home(agent).partition(":")[0])
    return tuple(sorted(module for module in modules if module.startswith("rrl.")))
