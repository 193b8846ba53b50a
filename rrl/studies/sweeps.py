"""Sweeps: many races from a list of literal settings, in the processes of this machine.

A :class:`rrl.studies.settings.Setting` says what to run. Results of the present versions are read
from the store (:mod:`rrl.studies.sweep_store`), and the others are computed. They are divided into
pieces of a few seeds (:func:`pieces_of`), and each piece is kept as one file under
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
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from rrl.rivals import agents
from rrl.studies.behaviour import processes
from rrl.studies.days import Arrays, Day, run_days
from rrl.studies.problems import open_scenario
from rrl.studies.race import Race, race
from rrl.studies.scenario import Scenario, find_truth
from rrl.studies.settings import Problem, Setting, TruthOf
from rrl.studies.sweep_store import Spec, Store, read_arrays, result_key, result_name, write_arrays
from rrl.support.errors import check_interrupt
from rrl.support.machine import one_thread
from rrl.support.provenance import NUMERICAL, installed
from rrl.tuning.loop import MakeAgent
from rrl.tuning.slo import most_cpus, parse_objective

SEEDS_PER_PIECE = 5


class Task(NamedTuple):
    """A piece to compute.

    Parameters
    ----------
    about : tuple
        All that the arrays depend on, besides the installed packages; JSON can write it.
    function : callable
    arguments : tuple
    """

    about: tuple[Any, ...]
    function: Callable[..., Arrays]
    arguments: tuple[Any, ...]

    @property
    def file(self) -> str:
        """The name of the piece's file; the installed versions count here, not those locked."""
        text = json.dumps([self.about, installed(NUMERICAL)], sort_keys=True)
        return f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"


class Sweep:
    """The results of some settings: it reads existing ones and runs missing ones on request.

    Parameters
    ----------
    settings : sequence of Setting or Day
        Only settings have problems with a truth.
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
        settings: Sequence[Setting | Day],
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

    @cached_property
    def store(self) -> Store:
        """The stored results."""
        return Store(Path(self.data) / "results")

    def run(self) -> dict[Any, Any]:
        """Run all settings, and return the results by setting, in the order of the settings.

        The result of a setting is a :class:`rrl.Race`. That of a day is a dictionary of arrays, see
        :func:`rrl.studies.days.run_days`.
        """
        found = self._read_or_compute(self.settings)
        return {s: rows if isinstance(s, Day) else self._race(rows) for s, rows in found.items()}

    def scenarios(self) -> dict[Problem, Scenario]:
        """Return the scenario of each problem with its truth; a surface has its truth already.

        The truth of a changing workload is that of the longest horizon.
        """
        races = [one for one in self.settings if isinstance(one, Setting)]
        scenarios = {one.problem: open_scenario(*one.problem, self.data) for one in races}
        horizon: dict[Problem, int] = {}
        for setting in races:
            if not scenarios[setting.problem].known:
                steady = isinstance(setting.load, int | float)
                length = self.replications if steady else setting.episodes
                horizon[setting.problem] = max(length, horizon.get(setting.problem, 0))
        specs = {one: TruthOf(*one, length, self.replications) for one, length in horizon.items()}
        found = self._read_or_compute(specs.values())
        truths = {one: scenarios[one].knowing(found[specs[one]]["cost"]) for one in specs}
        return scenarios | truths

    def tasks(self, spec: Spec) -> list[Task]:
        """Return the tasks of a setting, a day or a truth: one for each of its pieces."""
        key, run = result_key(spec, self.data), RUNNERS[type(spec)]
        return [Task((one, key), run, (one, self.data)) for one in pieces_of(spec)]

    def compute_pieces(self, tasks: Sequence[Task], progress: bool = True) -> list[Arrays]:
        """Return the piece of each task; those that are not in the folder are computed."""
        files = [self.folder / task.file for task in tasks]
        every = dict(zip(files, tasks, strict=True)).items()
        missing = [(file, task) for file, task in every if not file.exists()]
        random.Random(0).shuffle(missing)  # pieces differ in length: the time left is by their mean
        if missing:
            how: dict[str, Any] = {"return_as": "generator_unordered", "max_nbytes": None}
            done = Parallel(n_jobs=self.workers, **how)(delayed(_run_task)(*one) for one in missing)
            for path, arrays in tqdm(
                done, "sweep", len(missing), unit="piece", smoothing=0, disable=not progress
            ):
                write_arrays(path, arrays)
                check_interrupt()
        return [read_arrays(file) for file in files]

    def compute(self, specs: Iterable[Spec]) -> dict[Spec, Arrays]:
        """Compute settings, days or truths, also stored ones; existing pieces are not run again."""
        tasks = {spec: self.tasks(spec) for spec in specs}
        pieces = iter(self.compute_pieces([task for some in tasks.values() for task in some]))
        by_spec = {spec: [next(pieces) for _ in some] for spec, some in tasks.items()}
        return {
            spec: {name: np.concatenate([one[name] for one in some]) for name in some[0]}
            for spec, some in by_spec.items()
        }

    def save(self, results: Mapping[Spec, Arrays]) -> None:
        """Store results that the present code has computed."""
        for spec, arrays in results.items():
            write_arrays(self.store.path(result_name(spec)), arrays)
        keys = {spec: result_key(spec, self.data) for spec in results}
        self.store.enter({result_name(spec): (spec, key) for spec, key in keys.items()})

    def _read_or_compute(self, specs: Iterable[Any]) -> dict[Any, Arrays]:
        """Return the arrays of settings, days or truths, in their order."""
        stored = {spec: self._read(spec) for spec in specs}
        found = {spec: arrays for spec, arrays in stored.items() if arrays is not None}
        missing = [spec for spec in stored if spec not in found]
        if outdated := sum(result_name(spec) in self.store.index for spec in missing):
            print(
                f"{outdated} of {len(stored)} results are stored for other versions, for fewer "
                "seeds or without costs: computed anew"
            )
        found |= self.compute(missing)
        if os.environ.get("RRL_RESULTS") == "store":
            self.save({spec: self._without_unwanted_costs(found[spec]) for spec in missing})
        return {spec: found[spec] for spec in stored}

    def _read(self, spec: Spec) -> Arrays | None:
        """Return what is wanted of a stored result, if it is of the present code and has it all."""
        name = result_name(spec)
        if self.store.changes(name, result_key(spec, self.data)):
            return None
        arrays, stored = read_arrays(self.store.path(name)), self.store.index[name].spec
        if isinstance(spec, TruthOf):
            return arrays if stored == spec else None  # a name has six digits of a number only
        enough = stored.seeds >= spec.seeds and stored._replace(seeds=spec.seeds) == spec
        costs = "costs" in arrays or not self.costs or isinstance(spec, Day)
        wanted = {name: rows[: spec.seeds] for name, rows in arrays.items()}
        return wanted if enough and costs else None

    def _without_unwanted_costs(self, arrays: Arrays) -> Arrays:
        return {name: rows for name, rows in arrays.items() if self.costs or name != "costs"}

    def _race(self, rows: Arrays) -> Race:
        costs = rows["costs"].astype(np.float64) if self.costs else None
        return Race(rows["chosen"], rows["recommended"], costs)


def _run_task(path: Path, task: Task) -> tuple[Path, Arrays]:
    with one_thread():
        return path, task.function(*task.arguments)


# --- Pieces: what a worker process runs -----------------------------------------------------------


def pieces_of(spec: Spec, size: int = SEEDS_PER_PIECE) -> list[Spec]:
    """Divide a setting or a day into the same with `size` seeds each; a truth is one piece.

    Examples
    --------
    >>> [(one.first_seed, one.seeds) for one in pieces_of(Setting("pool", 10.0, "rrl", 7, 100))]
    [(0, 5), (5, 2)]
    """
    if isinstance(spec, TruthOf):
        return [spec]
    last = spec.first_seed + spec.seeds
    starts = range(spec.first_seed, last, size)
    return [spec._replace(first_seed=n, seeds=min(size, last - n)) for n in starts]


def run_setting(setting: Setting, data: str, make: MakeAgent | None = None) -> Arrays:
    """Race one setting from its seeds.

    Parameters
    ----------
    setting : Setting
    data : str
        The folder of the recorded profiles.
    make : callable, optional
        It makes the agent. By default, the agent's name says how.

    Returns
    -------
    dict of str to ndarray, shape (seeds, episodes)
        ``chosen`` and ``recommended`` are those of :class:`rrl.studies.race.Race`. ``costs`` (s for
        a latency) has single precision, so that it can be stored: the seventh digit is rounded.
    """
    scenario = open_scenario(*setting.problem, data)
    objective = parse_objective(setting.objective, most_cpus(scenario.space))
    make = make or agents.maker(setting.agent)
    seeds = range(setting.first_seed, setting.first_seed + setting.seeds)
    runs = race(scenario, make, seeds, setting.episodes, objective=objective)
    costs = np.asarray(runs.costs, dtype=np.float32)
    return {"chosen": runs.chosen, "recommended": runs.recommended, "costs": costs}


def _run_truth(truth: TruthOf, data: str) -> Arrays:
    """Find the true cost of each configuration on one problem: ``cost``."""
    scenario = open_scenario(truth.testbed, truth.load, data)
    cost = find_truth(scenario, replications=truth.replications, episodes=truth.episodes)
    return {"cost": cost}


RUNNERS: dict[type, Callable[..., Arrays]] = {
    Setting: run_setting,
    Day: run_days,
    TruthOf: _run_truth,
}
"""What runs a setting, a day or a truth: each takes it and the folder of the data."""
