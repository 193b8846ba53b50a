"""Sweeps: many races from a list of literal settings, on one machine or on a cluster.

A :class:`rrl.studies.settings.Setting` says what to run. It is divided into pieces of a few seeds.
Each piece is one file under ``build/sweeps``. Its name is a digest of the setting, the code that it
runs, the data that it reads and the versions of the numerical packages. So an interrupted sweep
continues where it stopped, and a finished one is not run again. A change repeats only the pieces
that depend on it. A piece draws from its own seeds and runs its linear algebra in one thread. So
the results do not depend on the number of workers, and they are the same on a cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rrl.recording.profile import EPISODES
from rrl.recording.replay import replayed
from rrl.rivals.agents import AGENTS, HOME
from rrl.studies.problems import half_of, open_scenario
from rrl.studies.race import Race, race
from rrl.studies.scenario import Scenario, Truth
from rrl.studies.settings import Load, Setting, check, workload
from rrl.studies.truths import find_truth
from rrl.support.errors import DataError, UsageError
from rrl.support.files import replacing
from rrl.support.machine import available_cpus, one_thread
from rrl.support.provenance import (
    NUMERICAL,
    PACKAGE,
    code_behind,
    combined,
    digest,
    versions,
)
from rrl.tuning.objective import parse_objective

Arrays = dict[str, NDArray[Any]]
SEEDS_A_PIECE = 5


@lru_cache(maxsize=32)
def _problem(testbed: str, load: Load, data: str) -> Scenario:
    return open_scenario(testbed, workload(load), data)


def run_piece(setting: Setting, seeds: Sequence[int], data: str) -> Arrays:
    """Race one setting from some seeds, in a worker process."""
    with one_thread():
        scenario = _problem(*setting.problem, data)
        runs = race(
            scenario,
            AGENTS[setting.agent],
            seeds,
            setting.episodes,
            objective=parse_objective(setting.objective),
        )
    return {"chosen": runs.chosen, "recommended": runs.recommended, "costs": runs.costs}


def run_truth(testbed: str, load: Load, episodes: int, replications: int, data: str) -> Arrays:
    """Find the truth of one problem, in a worker process."""
    problem = _problem(testbed, load, data)
    return find_truth(problem, replications=replications, episodes=episodes)._asdict()


class _Task(NamedTuple):
    key: str  # the name of its file
    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]


class Sweep:
    """The results of some settings: it reads existing pieces and runs missing ones on request.

    Parameters
    ----------
    settings : sequence of Setting
    data : path
        This is the folder of the recorded profiles.
    build : path
        The pieces are in the subfolder ``sweeps`` of this folder.
    replications : int, optional
        A simulated truth uses this many episodes per configuration.
    workers : int, optional
        This is the number of processes. By default there are as many as CPUs.

    Raises
    ------
    UsageError
        If a setting names an agent, a workload or an objective that does not exist.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        *,
        data: str | os.PathLike[str] = "data",
        build: str | os.PathLike[str] = "build",
        replications: int = 150,
        workers: int | None = None,
    ) -> None:
        self.settings = tuple(settings)
        self.data, self.folder = os.path.abspath(data), Path(build) / "sweeps"
        self.replications = replications
        self.workers = workers or int(os.environ.get("RRL_WORKERS") or available_cpus())
        for setting in self.settings:
            check(setting)

    def run(self, progress: bool = True) -> dict[Setting, Race]:
        """Race all settings, and return the results by setting, in the order of the settings."""
        parts = {setting: self._pieces(setting) for setting in self.settings}
        found = self._results([task for tasks in parts.values() for task in tasks], progress)
        return {setting: _join([found[t.key] for t in tasks]) for setting, tasks in parts.items()}

    def scenarios(self, progress: bool = True) -> dict[tuple[str, Load], Scenario]:
        """Return the problems of the settings with their truths."""
        truths = self.truths(progress)
        return {key: _problem(*key, self.data).knowing(truth) for key, truth in truths.items()}

    def truths(self, progress: bool = True) -> dict[tuple[str, Load], Truth]:
        """Return the truth of each problem; a changing workload uses the longest horizon."""
        horizon: dict[tuple[str, Load], int] = {}
        for setting in self.settings:
            steady = isinstance(setting.load, int | float)
            length = self.replications if steady else setting.episodes
            horizon[setting.problem] = max(length, horizon.get(setting.problem, 0))
        code = _code("rrl.studies.problems", *_server_modules())
        tasks = {}
        for problem, episodes in horizon.items():
            what = (*problem, episodes, self.replications)
            about = ("truth", *what, code, self._judged(problem[0]))
            tasks[problem] = _Task(_key(about), run_truth, (*what, self.data))
        found = self._results(list(tasks.values()), progress)
        return {problem: Truth(**found[task.key]) for problem, task in tasks.items()}

    def _pieces(self, setting: Setting) -> list[_Task]:
        code = _code("rrl.studies.sweeps", *_server_modules(), *_agent_modules(setting, self.data))
        tasks = []
        for first in range(0, setting.seeds, SEEDS_A_PIECE):
            seeds = tuple(range(first, min(first + SEEDS_A_PIECE, setting.seeds)))
            about = (*setting._replace(seeds=0), seeds, code, self._recorded(setting.testbed))
            tasks.append(_Task(_key(about), run_piece, (setting, seeds, self.data)))
        return tasks

    def _recorded(self, testbed: str) -> str:
        """Return the digest of a profile's replayed data; it is empty for a simulated testbed."""
        name, half = half_of(testbed)
        folder = Path(self.data) / name
        return replayed(folder, half) if folder.is_dir() else ""

    def _judged(self, testbed: str) -> str:
        """Return the digest of the data behind a profile's truth, finals included.

        It is empty for a simulated testbed.
        """
        episodes = Path(self.data) / half_of(testbed)[0] / EPISODES
        return digest(episodes) if episodes.exists() else ""

    def _results(self, tasks: Sequence[_Task], progress: bool) -> dict[str, Arrays]:
        missing = [task for task in tasks if not self._file(task).exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        if missing:
            from tqdm import tqdm

            with _backend(self.workers) as parallel:
                done = parallel(_keyed(task) for task in missing)
                for key, arrays in tqdm(
                    done, "sweep", len(missing), unit="piece", disable=not progress
                ):
                    self._save(key, arrays)
        return {task.key: self._load(task) for task in tasks}

    def _file(self, task: _Task) -> Path:
        return self.folder / f"{task.key}.npz"

    def _save(self, key: str, arrays: Arrays) -> None:
        with replacing(self.folder / f"{key}.npz") as file:
            np.savez_compressed(file, **arrays)

    def _load(self, task: _Task) -> Arrays:
        try:
            with np.load(self._file(task), allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, BadZipFile) as error:
            raise DataError(f"{self._file(task)}: damaged ({error}); remove it") from None


def _call(task: _Task) -> tuple[str, Arrays]:
    return task.key, task.function(*task.arguments)


def _keyed(task: _Task) -> Any:
    from joblib import delayed

    return delayed(_call)(task)


def _key(about: tuple[Any, ...]) -> str:
    packages = versions(NUMERICAL)
    text = json.dumps([about, packages], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _code(*modules: str) -> str:
    return combined(code_behind(*modules), PACKAGE)


def _server_modules() -> tuple[str, ...]:
    return (
        "rrl.simulation.testbeds",
        "rrl.recording.replay",
        "rrl.workloads.modulated",
        "rrl.workloads.workload",
    )


@lru_cache(maxsize=256)
def _agent_modules(setting: Setting, data: str) -> frozenset[str]:
    """Make an agent, and return the modules of its maker, its class and its parts' classes."""
    space = _problem(*setting.problem, data).space
    agent = AGENTS[setting.agent](space, np.random.default_rng(0))
    modules = {type(part).__module__ for part in (agent, *vars(agent).values())}
    modules.add(HOME[setting.agent].partition(":")[0])
    return frozenset(module for module in modules if module.startswith("rrl."))


def _join(parts: Sequence[Arrays]) -> Race:
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Race(whole["chosen"], whole["recommended"], np.nan, whole["costs"])


@contextmanager
def _backend(workers: int) -> Iterator[Any]:
    """Yield Joblib's Parallel for this machine, or for the cluster that the environment sets.

    The environment variables are RRL_BACKEND and RRL_SCHEDULER.
    """
    from joblib import Parallel, parallel_config

    name, scheduler = os.environ.get("RRL_BACKEND") or "loky", os.environ.get("RRL_SCHEDULER")
    if name not in ("loky", "dask"):
        raise UsageError(f"unknown BACKEND {name!r}: use loky (this machine) or dask (a cluster)")
    if name == "loky":
        yield Parallel(n_jobs=workers, return_as="generator_unordered", max_nbytes=None)
        return
    if not scheduler:
        raise UsageError("BACKEND=dask needs SCHEDULER=tcp://HOST:PORT, a Dask scheduler's address")
    try:
        from distributed import Client
    except ImportError:
        raise UsageError(
            "BACKEND=dask needs the package distributed: pip install 'dask[distributed]'"
        ) from None
    try:
        client = Client(scheduler, timeout="10s")
    except OSError as error:
        raise UsageError(f"no Dask scheduler answers at {scheduler}: {error}") from None
    with client, parallel_config(backend="dask", wait_for_workers_timeout=60):
        yield Parallel(return_as="generator_unordered")
