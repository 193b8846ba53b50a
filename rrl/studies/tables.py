"""The tables of runs in the store of results that are no single races.

Such a table depends on versions of agents and problems and of the judge, as a stored race does, and
it has a line in the index of the store. :func:`table_file` returns the path of a file of a table if
the table is of the present versions, and refuses it otherwise.
``python -m rrl.studies.results renew --table NAME`` makes a table anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rrl.studies.ablation import FAMILIES, make_ablation
from rrl.studies.ablation import PROBLEMS as ABLATION_PROBLEMS
from rrl.studies.behaviour import label, problem_name
from rrl.studies.horizons import RACED, make_horizons
from rrl.studies.region_map import RECORDED, SIMULATED, make_map
from rrl.studies.sweep_store import TABLES as PREFIX
from rrl.studies.sweep_store import Entry, Key, Store, data_key, packages
from rrl.studies.sweeps import Sweep
from rrl.studies.warm_start import PROBLEMS as WARM_PROBLEMS
from rrl.studies.warm_start import make_warm_start
from rrl.support.errors import DataError

PathLike = str | os.PathLike[str]
JUDGE = ("judge loop", "judge truth", "judge measures")


class Table(NamedTuple):
    """What a table depends on, and the function that makes its files.

    Parameters
    ----------
    agents, testbeds : tuple of str
    make : callable
        It takes the folder of the table and a sweep, which has the folder of the data.
    judge : tuple of str
        The parts of the judge.
    """

    agents: tuple[str, ...]
    testbeds: tuple[str, ...]
    make: Callable[[Path, Sweep], None]
    judge: tuple[str, ...] = JUDGE


def tables() -> dict[str, Table]:
    """Return all tables by name."""
    families = tuple(dict.fromkeys(name for family in FAMILIES.values() for name in family))
    return {
        "ablation": Table(
            families, tuple(testbed for testbed, _ in ABLATION_PROBLEMS.values()), make_ablation
        ),
        "horizons": Table(
            ("rrl", "rrl-adaptive"),
            tuple(dict.fromkeys(name.split(",")[0] for name in RACED)),
            make_horizons,
            ("judge horizons",),
        ),
        "region-map": Table(
            ("rrl", "rrl-adaptive", "q-learning", "deep-q-network"),
            (*SIMULATED, *RECORDED),
            make_map,
            (*JUDGE, "judge map"),
        ),
        "warm-start": Table(
            ("rrl-gp", "warm start"),
            tuple(WARM_PROBLEMS),
            make_warm_start,
        ),
    }


def key_of(table: Table, data: PathLike) -> Key:
    """Return what a table depends on, in the form of a result's key."""
    problems = dict.fromkeys(map(problem_name, table.testbeds))
    read = dict.fromkeys(key for name in table.testbeds for key in data_key(name, str(data), True))
    names = *(f"agent {name}" for name in table.agents), *problems, *table.judge
    return (*map(label, names), *read, packages())


def table_file(name: str, file: str, data: PathLike = "data") -> Path:
    """Return the path of a file of a table that is of the present versions.

    Parameters
    ----------
    name : str
        A key of :func:`tables`.
    file : str
        The file in the folder of the table.
    data : path, optional

    Raises
    ------
    DataError
        If the table is missing or of other versions. The message names what has changed.

    Examples
    --------
    >>> table_file("horizons", "runs.csv").name
    'runs.csv'
    """
    store = Store(Path(data) / "results")
    path, entry = store.table(name) / file, store.index.get(PREFIX + name)
    if entry is None or not path.exists():
        raise DataError(f"{path}: no such table is stored; `make results` makes it")
    new = sorted(set(key_of(tables()[name], data)) ^ set(entry.key))
    if new:
        raise DataError(
            f"{path}: of other versions than {', '.join(new)}; `make results` renews the table"
        )
    return path


def renew(name: str, sweep: Sweep) -> None:
    """Make a table anew, and enter it in the index; pieces that a sweep has are not run again."""
    table = tables()[name]
    key = key_of(table, sweep.data)
    table.make(sweep.store.table(name), sweep)
    sweep.store.enter({PREFIX + name: Entry(("table", name), key)})
