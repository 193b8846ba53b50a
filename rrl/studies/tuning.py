"""Tune every rival for the aim of `rrl-gp`, on the problems on which `rrl-gp` was chosen.

``python -m rrl.studies.tuning FOLDER`` races each setting of `RANGES` on 29 problems: the thirteen
tables of costs in the folder (:mod:`rrl.studies.table_races`; they are not in this package), the
surfaces, the spaces made on purpose, and ten simulated loads. An episode of a simulated load costs
the true mean with 10 % noise. No recorded load is read. The aim is the mean cost over the best in
300 episodes.

Each setting and problem is a row of ``data/choosing/rivals.csv``, with geometric means over the
seeds. The command can be stopped and run again: it computes the missing rows. At the end it prints
the best setting of each agent, for the mean cost and for the first episode within 5 %.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import gmean

from rrl.core.agent import Agent, MakeAgent
from rrl.core.exploration import Boltzmann, Temperature
from rrl.core.region import FixedRadius
from rrl.core.space import ConfigSpace
from rrl.rivals.agents import SETTINGS, maker
from rrl.studies.made_spaces import MADE
from rrl.studies.outcomes import measures
from rrl.studies.problems import DATA, EPISODES, SURFACES, open_scenario, problem_of, surface
from rrl.studies.race import race
from rrl.studies.scenario import Scenario
from rrl.studies.settings import cross, why_not
from rrl.studies.sweeps import Sweep
from rrl.studies.table_races import table_scenario
from rrl.support.errors import DataError, Parser, UsageError, command
from rrl.support.machine import available_cpus, one_thread
from rrl.support.number_options import COUNT

if TYPE_CHECKING:
    import pandas as pd

LOG = Path("choosing") / "rivals.csv"
SIMULATED = (
    *(f"cpu10 {rate}" for rate in (8.3, 12.5, 16.7)),
    *(f"gpu {rate}" for rate in (200, 500, 900)),
    *(f"cpu2 {rate}" for rate in (60, 115, 165)),
    "cpu2-joint 115",
)
NOISE = 0.1  # coefficient of variation of an episode's cost under a simulated load
SEEDS = range(9500, 9505)  # no other study uses these
FEWER = {"optuna-tpe": (3, 100)}
"""Seeds and episodes of the agents that take over 30 ms for a decision."""
AIMS = ("mean_cost", "first_within_5")

#: The values of each setting. All combinations of an agent's values are raced.
RANGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "rrl": {
        "radius": (1.0, 2.0, 3.0),
        "learning_rate": (0.3, 0.6),
        "temperature": ([0.02, 0.005, 50], [0.05, 0.005, 50], [0.01, 0.0025, 20]),
    },
    "rrl-adaptive": {
        "radius": (1.0, 2.0, 4.0),
        "learning_rate": (0.3, 0.6),
        "temperature": ([0.02, 0.005, 50], [0.01, 0.0025, 20]),
    },
    "q-learning": {
        "epsilon": ([0.1, 0.1, 50], [0.3, 0.05, 20], [0.5, 0.02, 20], [1.0, 0.02, 5],
                    [1.0, 0.02, 10], [1.0, 0.1, 20], [1.0, 0.1, 50]),
        "learning_rate": (0.1, 0.3, 1.0),
    },
    "deep-q-network": {
        "epsilon": ([0.1, 0.02, 20], [0.3, 0.05, 20], [1.0, 0.02, 5], [1.0, 0.1, 20]),
        "learning_rate": (0.003, 0.01),
    },
    "gp-ei": {"initial": (2, 5), "length": (0.25, 0.5, 1.0)},
    "hill-climbing": {"reach": (1, 4), "again": (0.03, 0.1, 0.3), "patience": (40, 1000)},
    "coordinate-descent": {"repeats": (1, 2), "rounds": (1, 2, 3, 6)},
    "simulated-annealing": {
        "temperature": (0.03, 0.1, 0.3), "decay": (0.9, 0.98), "reach": (1, 4)
    },
    "zooming": {"lipschitz": (0.25, 0.5, 1.0, 2.0), "confidence": (0.0125, 0.025, 0.05)},
    "random": {"budget": (5, 10, 20, 40, 80, 160, 300)},
    "optuna-tpe": {"initial": (5, 10, 20)},
}  # fmt: skip


class Trial(NamedTuple):
    """An agent with settings, as JSON, on a problem."""

    agent: str
    settings: str
    problem: str


def all_settings(agent: str) -> Iterator[dict[str, Any]]:
    """Yield the settings of an agent that are raced.

    Examples
    --------
    >>> list(all_settings("optuna-tpe"))
    [{'initial': 5}, {'initial': 10}, {'initial': 20}]
    """
    for values in product(*RANGES[agent].values()):
        yield dict(zip(RANGES[agent], values, strict=True))


def with_settings(agent: str, settings: Mapping[str, Any]) -> MakeAgent:
    """Return a function that makes an agent with other settings; the paper's get other parts.

    Examples
    --------
    >>> from rrl import paper_cpu
    >>> agent = with_settings("rrl", {"radius": 2.0})(paper_cpu(), np.random.default_rng(0))
    >>> agent.region.radius
    2.0
    """

    def make(space: ConfigSpace, rng: np.random.Generator) -> Agent:
        changes = dict(settings)
        if "temperature" in changes and agent.startswith("rrl"):
            changes["exploration"] = Boltzmann(Temperature(*changes.pop("temperature")))
        if "radius" in changes and agent == "rrl":
            changes["region"] = FixedRadius(changes.pop("radius"))
        elif "radius" in changes:
            changes["radius"] = min(changes["radius"], space.diameter)
        return maker(agent, **changes)(space, rng)

    return make


def problems(folder: Path) -> list[str]:
    """Return the names of the problems: the tables of the folder, which has some, come first."""
    if not (tables := sorted(path.stem for path in folder.glob("*.csv"))):
        raise DataError(f"{folder}: no .csv file in it; give the folder of the tables")
    return [*tables, *SURFACES, *MADE, *SIMULATED]


@lru_cache(maxsize=64)
def opened(name: str, folder: Path, data: Path) -> Scenario:
    """Open a problem by its name, with its truth."""
    if name in (*SURFACES, *MADE):
        return open_scenario(name, data=data)
    if name not in SIMULATED:
        import pandas as pd

        table = pd.read_csv(folder / f"{name}.csv")
        return table_scenario(name, table, [knob for knob in table if knob != "cost"])
    testbed, load = problem_of(name)
    sweep = Sweep(cross([(testbed, load)], {"random": 1}, 1), data=data, workers=1)
    (truth,) = sweep.truths(progress=False).values()
    return surface(name, open_scenario(testbed, load).space, truth.cost, NOISE)


def run_trial(
    trial: Trial, seeds: Sequence[int], episodes: int, folder: Path, data: Path
) -> dict[str, Any]:
    """Race one setting on one problem, and return its row of the log."""
    with one_thread():
        where = opened(trial.problem, folder, data)
        make = with_settings(trial.agent, json.loads(trial.settings))
        found = measures(where, race(where, make, seeds, episodes), AIMS)
    means = {name: f"{gmean(values):.5g}" for name, values in found.items()}
    return trial._asdict() | {"seeds": len(seeds), "episodes": episodes} | means


def tune_rivals(
    agents: Sequence[str], folder: Path, data: Path = DATA, jobs: int = 1, progress: bool = True
) -> Path:
    """Race what the log lacks, row by row in a fixed order, and return the path of the log."""
    import pandas as pd
    from joblib import Parallel, delayed
    from tqdm import tqdm

    path, names = data / LOG, problems(folder)
    settings = [(agent, json.dumps(one)) for agent in agents for one in all_settings(agent)]
    wanted = [Trial(*one, name) for one in settings for name in names]
    log = read_log(path)[list(Trial._fields)] if path.exists() else pd.DataFrame()
    known = set(log.itertuples(index=False, name=None))
    missing = [trial for trial in wanted if trial not in known]
    for name in {trial.problem for trial in missing}.intersection(SIMULATED):
        opened(name, folder, data)  # here, so that two processes do not compute one truth
    path.parent.mkdir(parents=True, exist_ok=True)
    parallel = Parallel(n_jobs=jobs, return_as="generator")
    budgets = (FEWER.get(trial.agent, (len(SEEDS), EPISODES)) for trial in missing)
    rows = parallel(
        delayed(run_trial)(trial, SEEDS[:seeds], episodes, folder, data)
        for trial, (seeds, episodes) in zip(missing, budgets, strict=True)
    )
    for row in tqdm(rows, "tuning", len(missing), unit="race", disable=not progress):
        form = {"header": not path.exists(), "lineterminator": "\n"}
        pd.DataFrame([row]).to_csv(path, mode="a", index=False, **form)
    return path


def read_log(path: Path) -> pd.DataFrame:
    """Read the log of this study; a DataError says if the file is missing or another one."""
    import pandas as pd

    if not path.is_file():
        raise DataError(f"{path}: not found; `python -m rrl.studies.tuning FOLDER` makes it")
    log = pd.read_csv(path)
    if absent := {*Trial._fields, *AIMS} - set(log):
        raise DataError(f"{path}: no column {min(absent)!r}; it is not the log of this study")
    return log


def best_settings(log: pd.DataFrame, aim: str) -> pd.DataFrame:
    """Return the setting of each agent with the lowest geometric mean over the problems.

    Settings that were not raced on all problems of their agent are left out. The index of the table
    is `agent`, and its columns are `settings` (JSON) and the mean, under its name `aim`.
    """
    groups = log.groupby(["agent", "settings"], sort=False)
    count, typical = groups["problem"].nunique(), groups[aim].agg(gmean)
    typical = typical[count == count.groupby("agent").transform("max")]
    chosen = typical.loc[typical.groupby("agent", sort=False).idxmin()]
    return chosen.reset_index("settings")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Race what is missing, and print the best settings."""
    parser = Parser(prog="python -m rrl.studies.tuning", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of the tables, .csv files")
    parser.add_argument("--agents", default=",".join(RANGES), help="some of them")
    parser.add_argument("--jobs", type=COUNT, default=available_cpus(), help="processes")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the log")
    options = parser.parse_args(argv)
    agents = options.agents.split(",")
    if unknown := [name for name in agents if name not in RANGES]:
        raise UsageError(f"unknown agent {unknown[0]!r}; known: {', '.join(RANGES)}")
    absent = {name: reason for name in agents if (reason := why_not(name))}
    for name, reason in absent.items():
        print(f"left out: {name} ({reason})")
    agents = [name for name in agents if name not in absent]
    log = read_log(tune_rivals(agents, options.folder, options.data, options.jobs))
    for aim in AIMS:
        print(f"\nlowest {aim}:")
        for agent, row in best_settings(log, aim).iterrows():
            print(f"{agent}: {row[aim]:.3f} with {row['settings']}; now {SETTINGS.get(agent, {})}")


if __name__ == "__main__":
    raise SystemExit(import_module("rrl.studies.tuning").main())  # workers find it by this name
