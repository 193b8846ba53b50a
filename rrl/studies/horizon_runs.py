"""The race of fixed radii against the adaptive one, over thousands of episodes, and its files.

``python -m rrl.studies.horizon_runs`` races 30 seeds on three surfaces, about half a minute
on two cores, and writes the table ``horizons``. ``notebooks/05_adaptive_rrl`` races a few seeds
again and compares.

`runs.csv` has the mean cost of each run up to each horizon, over the optimum's. `radii.csv` has the
radius of each block of the adaptive agent, at the load level that served most episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rrl.core.agent import MakeAgent
from rrl.core.region import FixedRadius, RegionSize
from rrl.core.rrl import RRL, adaptive
from rrl.studies.horizons import learn_on_surface, refine
from rrl.studies.problems import surface
from rrl.studies.scenario import Scenario
from rrl.studies.sweep_store import table_folder
from rrl.support.errors import DataError, Parser, command
from rrl.support.files import write_atomically
from rrl.support.machine import available_cpus
from rrl.tuning.presets import paper_cpu

SURFACES = ("wide", "pool", "wide, 4 times as fine")
HORIZONS, RADII, SEEDS = (100, 300, 1000, 3000), (0.0, 1.0, 2.0, 4.0), 30
ADAPTIVE = "adaptive"
RUNS, RADII_FILE = "runs.csv", "radii.csv"
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


def learning_surface(name: str, tables: Mapping[str, Any]) -> Scenario:
    """Return one of the stored surfaces as a problem; with ", 4 times as fine", on a finer grid.

    Parameters
    ----------
    name : str
        This is the key of a table, and possibly the ending.
    tables : mapping of str to ndarray
        This is the content of ``data/surfaces/surfaces.npz``.
    """
    space, cost = paper_cpu(), tables[name.split(",")[0]]
    if "," not in name:
        return surface(name, space, cost.ravel())
    order = [
        np.argsort(knob.positions) for knob in space.knobs
    ]  # refine needs their effect's order
    return refine(name, cost[np.ix_(*order)], 4)


def race_radii(
    scenarios: Mapping[str, Scenario],
    seeds: Sequence[int],
    horizons: Sequence[int] = HORIZONS,
    radii: Sequence[float] = RADII,
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
    runs, blocks = [], []
    for name, scenario in scenarios.items():
        for agent, make in makers.items():
            served, agents = learn_on_surface(scenario, make, seeds, max(horizons))
            for horizon in horizons:
                costs = served[:, :horizon].mean(axis=1).round(DIGITS).tolist()
                seeded = zip(seeds, costs, strict=True)
                runs += [(name, agent, seed, horizon, cost) for seed, cost in seeded]
            if agent == ADAPTIVE:
                learned = zip(seeds, agents, strict=True)
                blocks += [(name, seed, *row) for seed, one in learned for row in _blocks(one)]
    return RadiusRace(
        pd.DataFrame(runs, columns=["surface", "agent", "seed", "horizon", "cost"]),
        pd.DataFrame(blocks, columns=["surface", "seed", "levels", "episode", "radius"]),
    )


def _blocks(agent: Any) -> Iterator[tuple[int, int, float]]:
    """Return what :class:`RadiusRace` has of the load level that served most episodes."""
    served = max(agent.tables, key=lambda table: table.episodes).level
    sizes: RegionSize = agent.region.sizes[served]
    for episode, radius in sizes.history:
        yield len(agent.tables), episode, round(radius, DIGITS)


def read_race(folder: Path | str) -> RadiusRace:
    """Read the files of a race.

    Raises
    ------
    DataError
        If a file is missing or damaged.
    """
    folder = Path(folder)
    try:
        read = RadiusRace(*(pd.read_csv(folder / name) for name in (RUNS, RADII_FILE)))
        if read.runs["cost"].isna().any() or read.radii["radius"].isna().any():
            raise ValueError("a number is missing")
    except (OSError, ValueError, KeyError) as error:
        remedy = "restore it, or run `python -m rrl.studies.horizon_runs`"
        raise DataError(f"{folder}: {error}; {remedy}") from None
    return read


def is_part(ours: RadiusRace, whole: RadiusRace) -> bool:
    """Return whether all numbers of a race are in another one, exactly."""

    def rows(table: pd.DataFrame) -> set[tuple[Any, ...]]:
        return set(table.itertuples(index=False, name=None))

    return all(rows(mine) <= rows(theirs) for mine, theirs in zip(ours, whole, strict=True))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m rrl.studies.horizon_runs", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--out", type=Path, default=table_folder("horizons", "data"))
    parser.add_argument("--surfaces", type=Path, default=Path("data/surfaces/surfaces.npz"))
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Race all seeds, one process per core, and write the files."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    options = _parser().parse_args(argv)
    if not options.surfaces.exists():
        raise DataError(f"{options.surfaces}: not found; give it by --surfaces")
    tables = np.load(options.surfaces)
    scenarios = {name: learning_surface(name, tables) for name in SURFACES}
    tasks = [(name, seed) for name in SURFACES for seed in range(SEEDS)]
    jobs = (delayed(race_radii)({name: scenarios[name]}, [seed]) for name, seed in tasks)
    runs = Parallel(n_jobs=available_cpus(), return_as="generator")(jobs)
    found = list(tqdm(runs, total=len(tasks), unit="run"))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, parts in zip((RUNS, RADII_FILE), zip(*found, strict=True), strict=True):
        text = pd.concat(parts).to_csv(index=False, lineterminator="\n")
        write_atomically(options.out / name, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
