"""Sweeps: many races from a list of literal settings, in the processes of this machine.

A :class:`rrl.studies.settings.Setting` says what to run. Results of the present versions are read
from the store (:mod:`rrl.studies.sweep_store`), and the others are computed. They are divided into
pieces of a few seeds (:func:`run_piece`), and each piece is kept as one file under
``build/results``. So an interrupted sweep continues where it stopped, and a finished one is not run
again. Days of devices (:class:`rrl.studies.days.Day`) are run and kept in the same way.
A piece draws from its own seeds and runs its linear algebra in one thread. So the results do not
depend on the number of workers. On a Dask cluster, run a sweep within
``joblib.parallel_config(backend="dask")``: the results are the same.

With ``RRL_RESULTS=store`` in the environment, computed results are also stored (``make results``).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from rrl.rivals import agents
from rrl.studies.behaviour import processes
from rrl.studies.days import Arrays, Day, run_days
from rrl.studies.problems import open_scenario
from rrl.studies.race import Race, race
from rrl.studies.scenario import Scenario, Truth, find_truth
from rrl.studies.settings import Load, Setting, TruthOf, workload
from rrl.studies.sweep_store import Key, Run, Store, read_arrays, run_key, run_name
from rrl.support.files import replacing
from rrl.support.machine import one_thread
from rrl.support.provenance import NUMERICAL, versions
from rrl.tuning.constrained import most_cpus
from rrl.tuning.objective_names import parse_objective

SEEDS_PER_PIECE = 5


class Task(NamedTuple):
    """A piece to compute: the name of its file, and what computes it."""

    key: str
    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]


class Result(NamedTuple):
    """A result, stored or to be computed: its name in the store, what it is, its key and pieces."""

    name: str
    what: Run
    key: Key
    tasks: list[Task]


class Sweep:
    """The results of some settings: it reads existing ones and runs missing ones on request.

    Parameters
    ----------
    settings : sequence of Setting or Day
        All are of the same kind. Settings have :meth:`run`, days have :meth:`days`.
    data : path
        This is the folder of the recorded profiles. The stored results are in its subfolder
        ``results``.
    build : path
        The pieces are in the subfolder ``results`` of this folder.
    costs : bool, optional
        Whether the races have the costs that the agents were told. They take much more room than
        the configurations.
    replications : int, optional
        A simulated truth uses this many episodes per configuration.
    workers : int, optional
        This is the number of processes. By default it is the number of CPUs.

    Raises
    ------
    UsageError
        If a setting names an agent, a workload or an objective that does not exist.
    """

    def __init__(
        self,
        settings: Sequence[Setting] | Sequence[Day],
        *,
        data: str | os.PathLike[str] = "data",
        build: str | os.PathLike[str] = "build",
        costs: bool = False,
        replications: int = 150,
        workers: int | None = None,
    ) -> None:
        self.settings: tuple[Setting | Day, ...] = tuple(settings)
        self.costs = costs
        self.data, self.folder = os.path.abspath(data), Path(build) / "results"
        self.replications = replications
        self.workers = workers or processes()
        for setting in self.settings:
            setting.check()

    def of(self, settings: Sequence[Setting]) -> Sweep:
        """Return a sweep of other settings with the same folders, without costs."""
        build = self.folder.parent
        return Sweep(settings, data=self.data, build=build, workers=self.workers)

    @property
    def _races(self) -> list[Setting]:
        return [setting for setting in self.settings if isinstance(setting, Setting)]

    @cached_property
    def store(self) -> Store:
        """The stored results."""
        return Store(Path(self.data) / "results")

    def run(self) -> dict[Setting, Race]:
        """Race all settings, and return the results by setting, in the order of the settings."""
        wanted = {setting: self.result(setting) for setting in self._races}
        found = self._results(list(wanted.values()))
        return {setting: self._race(found[key.name], setting) for setting, key in wanted.items()}

    def days(self) -> dict[Day, Arrays]:
        """Return what :func:`rrl.studies.days.run_days` gives, by day, in the order of the days."""
        wanted = {day: self.result(day) for day in self.settings if isinstance(day, Day)}
        found = self._results(list(wanted.values()))
        return {
            day: {name: rows[: day.seeds] for name, rows in found[result.name].items()}
            for day, result in wanted.items()
        }

    def scenarios(self) -> dict[tuple[str, Load], Scenario]:
        """Return the problems of the settings with their truths."""
        truths = self.truths()
        problems = {s.problem: problem(*s.problem, self.data) for s in self._races}
        return {
            key: where.knowing(truths[key]) if key in truths else where
            for key, where in problems.items()
        }

    def truths(self) -> dict[tuple[str, Load], Truth]:
        """Return the truth of each problem that does not have it already, as a surface does.

        A changing workload uses the longest horizon.
        """
        horizon: dict[tuple[str, Load], int] = {}
        for setting in self._races:
            if problem(*setting.problem, self.data).known:
                continue
            steady = isinstance(setting.load, int | float)
            length = self.replications if steady else setting.episodes
            horizon[setting.problem] = max(length, horizon.get(setting.problem, 0))
        wanted = {
            key: self.result(TruthOf(*key, n, self.replications)) for key, n in horizon.items()
        }
        found = self._results(list(wanted.values()))
        return {key: Truth(**found[result.name]) for key, result in wanted.items()}

    def result(self, what: Run, seeds: Sequence[Sequence[int]] | None = None) -> Result:
        """Return the result of a setting, a day or a truth; `seeds` names those of each piece."""
        key = run_key(what, self.data)
        if isinstance(what, TruthOf):
            tasks = [Task(piece_key(what, key), run_truth, (*what, self.data))]
            return Result(run_name(what), what, key, tasks)
        run: Callable[..., Arrays] = run_days if isinstance(what, Day) else run_piece
        last = what.first_seed + what.seeds
        starts = range(what.first_seed, last, SEEDS_PER_PIECE)
        parts = seeds or [range(first, min(first + SEEDS_PER_PIECE, last)) for first in starts]
        tasks = [
            Task(
                piece_key(what._replace(seeds=0), key, tuple(part)),
                run,
                (what, tuple(part), self.data),
            )
            for part in parts
        ]
        return Result(run_name(what), what, key, tasks)

    def compute(self, tasks: Sequence[Task], progress: bool = True) -> dict[str, Arrays]:
        """Return the pieces by key; those that are not in the folder of pieces are computed."""
        from joblib import Parallel, delayed

        files = {task.key: self.folder / f"{task.key}.npz" for task in tasks}
        missing = {task.key: task for task in tasks if not files[task.key].exists()}.values()
        self.folder.mkdir(parents=True, exist_ok=True)
        if missing:
            how: dict[str, Any] = {"return_as": "generator_unordered", "max_nbytes": None}
            done = Parallel(n_jobs=self.workers, **how)(delayed(_call)(task) for task in missing)
            # By the mean speed of all pieces: they differ in length, and their order is random.
            for key, arrays in tqdm(
                done, "sweep", len(missing), unit="piece", smoothing=0, disable=not progress
            ):
                with replacing(files[key]) as file:
                    np.savez_compressed(file, **arrays)
        return {key: read_arrays(file) for key, file in files.items()}

    def keep_result(self, result: Result) -> None:
        """Store a result whose pieces were computed, with the same arrays as before."""
        pieces = self.compute(result.tasks, progress=False)
        arrays = _join([pieces[task.key] for task in result.tasks])
        path = self.store.path(result.name)
        before = read_arrays(path) if path.exists() else arrays
        self.store.write(result.name, {name: arrays[name] for name in arrays if name in before})
        self.store.enter({result.name: (result.what, result.key)})

    def _results(self, wanted: Sequence[Result]) -> dict[str, Arrays]:
        stored = {result.name: kept for result in wanted if (kept := self._stored(result))}
        missing = [result for result in wanted if result.name not in stored]
        if outdated := sum(result.name in self.store for result in missing):
            print(
                f"{outdated} of {len(wanted)} stored results are of other versions: computed anew"
            )
        pieces = self.compute([task for result in missing for task in result.tasks])
        found = {r.name: _join([pieces[task.key] for task in r.tasks]) for r in missing}
        if os.environ.get("RRL_RESULTS") == "store":
            for name, arrays in found.items():
                self.store.write(name, self._kept(arrays))
            self.store.enter({result.name: (result.what, result.key) for result in missing})
        return stored | found

    def _stored(self, result: Result) -> Arrays | None:
        """Return a stored result if it is of the present code and has all that is wanted."""
        if not self.store.is_present(result.name, result.key):
            return None
        arrays = read_arrays(self.store.path(result.name))
        if isinstance(result.what, TruthOf):
            return arrays
        enough = len(arrays["chosen"]) >= result.what.seeds
        return arrays if enough and ("costs" in arrays or not self.costs) else None

    def _kept(self, arrays: Arrays) -> Arrays:
        return {name: array for name, array in arrays.items() if self.costs or name != "costs"}

    def _race(self, arrays: Arrays, setting: Setting) -> Race:
        rows = {name: array[: setting.seeds] for name, array in self._kept(arrays).items()}
        costs = rows["costs"].astype(np.float64) if self.costs else None
        chosen, recommended = (rows[n].astype(np.int32) for n in ("chosen", "recommended"))
        return Race(chosen, recommended, costs)


def _call(task: Task) -> tuple[str, Arrays]:
    with one_thread():
        return task.key, task.function(*task.arguments)


def piece_key(*about: Any) -> str:
    """Return the name of a piece's file; the installed versions count here, not those locked.

    Parameters
    ----------
    *about
        All that the piece depends on; JSON can write it.
    """
    text = json.dumps([about, versions(NUMERICAL)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _join(parts: Sequence[Mapping[str, Any]]) -> Arrays:
    if len(parts) == 1:
        return dict(parts[0])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# --- Pieces: what a worker process runs, and what the result depends on --------------------------


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
