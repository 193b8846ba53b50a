"""Tables of runs that commands of their own make, in the store of results.

Such a table depends on versions of agents and problems and of the judge, as a stored race does, and
it has a line in the index of the store. :func:`table_file` returns the path of a file of a table if
the table is of the present versions, and refuses it otherwise.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from rrl.studies.behaviour import label, problem_name
from rrl.studies.sweep_store import TABLES as PREFIX
from rrl.studies.sweep_store import Entry, Key, Store, table_folder
from rrl.studies.sweeps import data_key, packages
from rrl.support.errors import DataError, UsageError
from rrl.support.files import write_atomically

PathLike = str | os.PathLike[str]

SURFACES = ("wide", "narrow", "pool")
MADE = ("made-category", "made-binary", "made-sparse")
JOINT = ("cpu2-joint", "mobilenet_v2-joint-279")
SMALL = (
    "mobilenet_v2-threads",
    "mobilenet_v2-busy",
    "inception_v3-threads",
    "keyword-threads",
    "mobilenet_v2-batching",
)
UNFINISHED = "unfinished"
"""In the key of a table that is being renewed: its present rows stay if the command is stopped."""
JUDGE = ("judge loop", "judge truth", "judge measures")


class Table(NamedTuple):
    """What a table depends on, and the commands that make its files.

    Parameters
    ----------
    agents, testbeds : tuple of str
    commands : tuple of str
        Modules of :mod:`rrl.studies` with arguments. Each one skips what its file has. ``{folder}``
        stands for the folder of the table, and ``{agents}`` for the agents.
    judge : tuple of str
        The parts of the judge.
    """

    agents: tuple[str, ...]
    testbeds: tuple[str, ...]
    commands: tuple[str, ...]
    judge: tuple[str, ...] = JUDGE


def tables() -> dict[str, Table]:
    """Return all tables by name."""
    from rrl.studies.ablation import FAMILIES
    from rrl.studies.map_places import RECORDED, SIMULATED

    families = tuple(dict.fromkeys(name for family in FAMILIES.values() for name in family))
    return {
        "ablation": Table(
            families,
            (*SURFACES, "cpu10", "gpu", *JOINT, *MADE),
            ("ablation --out {folder}",),
        ),
        "horizons": Table(
            ("rrl", "rrl-adaptive"),
            ("wide", "pool"),
            ("horizon_runs --out {folder}",),
            ("judge horizons",),
        ),
        "region-map": Table(
            ("rrl", "rrl-adaptive", "q-learning", "deep-q-network"),
            (*SIMULATED, *RECORDED),
            ("region_map --out {folder}",),
            (*JUDGE, "judge map"),
        ),
        "warm-start": Table(("rrl-gp", "warm start"), SMALL, ("warm_start --out {folder}",)),
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
    path, stored = table_folder(name, data) / file, Store(Path(data) / "results").index
    entry = stored.get(PREFIX + name)
    if entry is None or not path.exists():
        raise DataError(f"{path}: no such table is stored; `make results` makes it")
    new = sorted(set(key_of(tables()[name], data)) ^ set(entry.key))
    if new:
        raise DataError(
            f"{path}: of other versions than {', '.join(new)}; `make results` renews the table"
        )
    return path


def renew(name: str, data: PathLike = "data") -> None:
    """Make what a table lacks, after what is of other versions was removed from it.

    Raises
    ------
    UsageError
        If a command fails.
    """
    table, folder, store = tables()[name], table_folder(name, data), Store(Path(data) / "results")
    key = key_of(table, data)
    if entry := store.index.get(PREFIX + name):
        _forget(folder, set(key) ^ set(entry.key) - {UNFINISHED})
        store.enter({PREFIX + name: Entry(("table", name), (*key, UNFINISHED))})
    words = {"folder": str(folder), "agents": ",".join(table.agents)}
    for command in table.commands:
        arguments = [word.format(**words) for word in shlex.split(command)]
        module = f"rrl.studies.{arguments[0]}"
        if subprocess.run([sys.executable, "-m", module, *arguments[1:]]).returncode:
            raise UsageError(f"{module} failed, so table {name!r} is not renewed")
    store.enter({PREFIX + name: Entry(("table", name), key)})


def _forget(folder: Path, changed: set[str]) -> None:
    """Remove the runs of agents that have changed or gone; all if anything else has changed."""
    import pandas as pd

    agents = {words.split()[1] for words in changed if words.startswith("agent ")}
    if not all(words.startswith("agent ") for words in changed):
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.rglob("*"):
        if path.parent.name in agents and path.suffix == ".npz":
            path.unlink()
        elif path.suffix == ".csv":
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            if "agent" not in table:
                path.unlink()
                continue
            kept = table[~table["agent"].isin(agents)]
            write_atomically(path, kept.to_csv(index=False, lineterminator="\n"))
