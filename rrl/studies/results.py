"""The stored results: of which versions they are, and how they are renewed and checked.

``python -m rrl.studies.results WHAT``:

- ``check`` says what is stored, and fails if a result is of other versions than the present ones.
  It names the figures that rest on it, and the command that renews it.
- ``renew`` makes the tables of other versions anew, and computes the results of other versions that
  notebooks read. The notebooks then store these results, and ``remove`` removes what is still of
  other versions (``make results``). All can be stopped, and the same command goes on: until a
  result is stored, the old one stays, and ``check`` fails.
- ``versions`` gives the behaviours that have changed their next versions (``make versions``).
- ``verify`` checks, computes a sample of the stored runs again, and compares all numbers, but for
  rounding. Each commit has another sample. With ``--all`` it computes every run and every table. It
  goes on from what it has computed with the same code, and reads no piece of another command.

Besides runs and truths, the store has tables of runs that are no single races. A table depends on
versions of agents, problems and the judge, too, and has a line in the index. :func:`read_table`
reads a file of a table if the table is of the present versions.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from rrl.studies.ablation import ablation_settings, make_ablation
from rrl.studies.behaviour import accept, changed, code
from rrl.studies.days import Arrays
from rrl.studies.horizons import HORIZONS, RACED, RADII, SEEDS, RadiusRace, race_seed
from rrl.studies.map_cells import agent_settings
from rrl.studies.outcomes import write_csv
from rrl.studies.region_map import RECORDED, SIMULATED, make_map
from rrl.studies.settings import TruthOf
from rrl.studies.sweep_store import (
    TABLES,
    Key,
    Run,
    Store,
    key_of,
    read_arrays,
    run_key,
)
from rrl.studies.sweeps import Sweep, Task, pieces_of
from rrl.support.errors import DataError, Parser, UnstableError, UsageError, command
from rrl.support.files import read_json

SAMPLE = 60  # results that are computed again, of one seed each
ROUNDING = 1e-12  # two costs may differ by this fraction; 1e-15 was seen between processors
TABLE_ROUNDING = 1e-5  # the same for a table: the last of its six digits may be rounded either way
MANIFEST = Path("figures") / "manifest.json"


# --- tables of runs that are no single races ------------------------------------------------------

JUDGE = ("judge loop", "judge truth")


class Table(NamedTuple):
    """What a table depends on, and the function that makes it.

    Parameters
    ----------
    behaviours : tuple of str
        Agents and what judges them, such as ``"agent rrl"`` and ``"judge loop"``.
    testbeds : tuple of str
    make : callable
        It takes a sweep, which has the folder of the data, and returns the rows of each file by the
        name of the file.
    digits : str, optional
        The format of the numbers in the files. By default, they have the digits that tell them
        apart.
    """

    behaviours: Key
    testbeds: tuple[str, ...]
    make: Callable[[Sweep], dict[str, pd.DataFrame]]
    digits: str | None = None

    def key(self, data: str | os.PathLike[str]) -> Key:
        """Return what the table depends on, as the key of a result does."""
        return key_of(self.behaviours, self.testbeds, str(data))

    def write(self, folder: Path, sweep: Sweep) -> None:
        """Make the files of the table; pieces that the sweep has are not run again."""
        for file, rows in self.make(sweep).items():
            write_csv(rows, folder / f"{file}.csv", self.digits)


def tables() -> dict[str, Table]:
    """Return all tables by name."""
    ablation = ablation_settings()
    agents = dict.fromkeys(f"agent {one.agent}" for one in ablation)
    return {
        "ablation": Table(
            (*agents, *JUDGE, "judge measures"),
            tuple(dict.fromkeys(one.testbed for one in ablation)),
            make_ablation,
            "%.6g",
        ),
        "horizons": Table(
            ("agent rrl", "agent rrl-adaptive", "judge horizons"),
            tuple(dict.fromkeys(name.split(",")[0] for name in RACED)),
            make_horizons,
        ),
        "region-map": Table(
            (*(f"agent {name}" for name in agent_settings()), *JUDGE, "judge map"),
            (*SIMULATED, *RECORDED),
            make_map,
        ),
    }


def make_horizons(sweep: Sweep) -> dict[str, pd.DataFrame]:
    """Race what is missing of the radii, and return all rows (:mod:`rrl.studies.horizons`)."""
    key, tasks = tables()["horizons"].key(sweep.data), []
    for name, seed in product(RACED, range(SEEDS)):
        what = name, seed, HORIZONS, RADII
        tasks.append(Task(("horizons", *what, key), race_seed, (*what, sweep.data)))
    found = sweep.compute(tasks)
    return {
        file: pd.concat([pd.DataFrame(arrays[file]) for arrays in found])
        for file in RadiusRace._fields
    }


def read_table(name: str, file: str, data: str | os.PathLike[str] = "data") -> pd.DataFrame:
    """Read a file of a table that is of the present versions.

    Parameters
    ----------
    name : str
        A key of :func:`tables`.
    file : str
        The name of the file in the folder of the table, without its ending.
    data : path, optional

    Raises
    ------
    DataError
        If the table is of other versions, or it or the file is missing. The message says which.

    Examples
    --------
    >>> list(read_table("horizons", "runs"))
    ['surface', 'agent', 'seed', 'horizon', 'cost']
    """
    store, entry = Store(Path(data) / "results"), TABLES + name
    path = store.path(entry) / f"{file}.csv"
    if new := store.changes(entry, tables()[name].key(data)):
        why = ", ".join(new)
        raise DataError(f"{path}: not of the present versions ({why}); `make results` renews it")
    if not path.exists():
        remedy = "remove its folder, then `make results` makes the table anew"
        raise DataError(f"{path}: not stored; {remedy}")
    return pd.read_csv(path)


def renew_table(name: str, sweep: Sweep) -> None:
    """Make a table anew, and enter it in the index."""
    table = tables()[name]
    key = table.key(sweep.data)
    table.write(sweep.store.path(TABLES + name), sweep)
    sweep.store.enter({TABLES + name: (("table", name), key)})


# --- which versions the results are of ------------------------------------------------------------


def keys_now(sweep: Sweep) -> dict[str, Key]:
    """Return the keys that the present code gives to all tables and stored results, by name.

    A result is left out if its agent cannot be made here, or its testbed no longer exists.
    """
    found = {TABLES + name: table.key(sweep.data) for name, table in tables().items()}
    for name, what in sweep.store.runs.items():
        with suppress(LookupError, ImportError, ValueError):  # an agent or a testbed is gone
            what.check()
            found[name] = run_key(what, sweep.data)
    return found


def outdated(sweep: Sweep) -> dict[str, Key]:
    """Return the stored results of other versions, with what has changed in their keys."""
    keys, store = keys_now(sweep), sweep.store
    late = {name: store.changes(name, key) for name, key in keys.items()}
    late |= {n: (f"{n} cannot be made any more",) for n in store.index if n not in keys}
    return {name: why for name, why in sorted(late.items()) if why}


def read_by() -> dict[str, list[str]]:
    """Return the figures and tables that rest on each result, by the manifest of the figures.

    The manifest names the results that a notebook read, and the files that it made. So each of
    these files rests on all results that its notebook read.
    """
    manifest = read_json(MANIFEST) if MANIFEST.exists() else {"files": {}, "notebooks": {}}
    read = {book: entry.get("results", ()) for book, entry in manifest["notebooks"].items()}
    found: dict[str, list[str]] = {name: [] for names in read.values() for name in names}
    for file, entry in manifest["files"].items():
        for name in read.get(entry["notebook"], ()):
            found[name].append(Path(file).stem)
    return found


def check(sweep: Sweep) -> str:
    """Return one line about the stored results, all of which are of the present versions.

    Raises
    ------
    UnstableError
        If some are not. The message names what has changed, the figures and the commands.
    """
    if unknown := changed():
        print(f"changed, without a version of their own yet: {', '.join(sorted(unknown))}")
    late = outdated(sweep)
    if not late:
        stored = sweep.store.runs
        runs = sum(getattr(what, "seeds", 0) for what in stored.values())
        return (
            f"read from data/results: {len(stored)} results ({runs} runs) and "
            f"{len(sweep.store.index) - len(stored)} tables, all of the present versions; "
            "computed: what notebooks do not store"
        )
    reasons: dict[Key, list[str]] = defaultdict(list)
    for name, new in late.items():
        reasons[new].append(name)
    for new, names in reasons.items():
        print(f"{', '.join(new)}: {len(names)} stored results, such as {names[0]}")
    read = read_by()
    figures = sorted({figure for name in late for figure in read.get(name, ())})
    print(f"figures and tables that rest on them: {', '.join(figures) or 'none'}")
    steps = "`make versions`, then `make results`" if unknown else "`make results`"
    raise UnstableError(
        f"{len(late)} of {len(sweep.store.index)} stored results are of other versions or missing, "
        f"and {len(figures)} figures and tables rest on them: nothing is drawn; {steps} renews them"
    )


def renew(sweep: Sweep) -> str:
    """Renew the tables, and compute what else notebooks read; return one line.

    The notebooks store these results, because they know which arrays they read.

    Raises
    ------
    UsageError
        If a behaviour has changed and has no version.
    """
    _need_versions()
    keys, late, read = keys_now(sweep), outdated(sweep), read_by()
    wanted = [
        what
        for name, what in sweep.store.runs.items()
        if name in late and name in keys and (name in read or not read)
    ]
    sweep.computed(wanted)
    made = [name for name in tables() if TABLES + name in late]
    for name in made:
        print(f"table {name}", flush=True)
        renew_table(name, sweep)
    return f"{len(wanted)} results computed, {len(made)} tables renewed"


def remove(sweep: Sweep) -> str:
    """Remove the results of other versions, which no notebook has stored anew; return one line.

    Raises
    ------
    UsageError
        If a behaviour has changed and has no version.
    """
    _need_versions()
    old = [name for name in outdated(sweep) if name in sweep.store.index]
    sweep.store.forget(old)
    return f"{len(old)} results of other versions removed"


def _need_versions() -> None:
    """Refuse a behaviour that has changed and has no version."""
    if missing := sorted(changed()):
        raise UsageError(f"{', '.join(missing)}: no versions yet; `make versions` gives them some")


def sample_of(sweep: Sweep, salt: str, count: int | None) -> list[tuple[str, Run]]:
    """Choose results to compute again: the name of each, with some of its seeds.

    Parameters
    ----------
    sweep : Sweep
    salt : str
        Another text selects another sample.
    count : int or None
        Of so many results, one seed is computed; without a count, all seeds of all results.
    """
    stored = sorted(sweep.store.runs.items())
    if count is None:
        return [(name, one) for name, what in stored for one in pieces_of(what)]
    rng, found = random.Random(salt), list[tuple[str, Run]]()
    for name, what in rng.sample(stored, min(count, len(stored))):
        if isinstance(what, TruthOf):
            found.append((name, what))
        else:
            seed = what.first_seed + rng.randrange(what.seeds)
            found.append((name, what._replace(first_seed=seed, seeds=1)))
    return found


def verify(sweep: Sweep, count: int | None = SAMPLE) -> str:
    """Compute a sample of the stored results again, or all with the tables; return one line.

    Raises
    ------
    UnstableError
        If one differs. The message names its file, and its seed if it is no table.
    DataError
        If a file is damaged.
    """
    chosen = sample_of(sweep, _commit(), count)
    build = sweep.folder.with_name("verify") / code()  # no piece from which a result was stored
    again = Sweep((), data=sweep.data, build=build, workers=sweep.workers)
    computed = again.computed(what for _, what in chosen)
    for name, what in chosen:
        _compare(sweep.store, name, what, computed[what])
    every = tables() if count is None else {}
    for name, table in every.items():
        table.write(build / TABLES / name, again)
        _compare_table(sweep, name, build / TABLES / name)
    share = f"{len({name for name, _ in chosen})} of {len(sweep.store.runs)}"
    also = f" and {len(every)} tables" if every else ""
    return f"computed again: {share} stored results{also}, and the same came out"


def _commit() -> str:
    """Return the commit of the checkout; empty outside one."""
    git = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _compare(store: Store, name: str, what: Run, computed: Arrays) -> None:
    where, stored = "", read_arrays(store.path(name))
    if not isinstance(what, TruthOf):
        first = what.first_seed - store.index[name][0].first_seed
        where = f", seeds {what.first_seed} to {what.first_seed + what.seeds - 1}"
        stored = {array: rows[first : first + what.seeds] for array, rows in stored.items()}
    names = stored.keys() | computed.keys() - {"costs"}  # some notebooks store no costs
    if differ := [array for array in sorted(names) if not _same(stored, computed, array)]:
        raise UnstableError(
            f"{store.path(name)}{where}: {' and '.join(differ)} differ from what the "
            "same versions give here; use the locked packages (`make env`), or remove the file and "
            "run `make results`"
        )


def _same(stored: Arrays, computed: Arrays, name: str) -> bool:
    if name not in stored or name not in computed or stored[name].shape != computed[name].shape:
        return False
    return np.allclose(stored[name], computed[name], rtol=ROUNDING, atol=0, equal_nan=True)


def _compare_table(sweep: Sweep, name: str, computed: Path) -> None:
    for file in sorted(computed.glob("*.csv")):
        stored = read_table(name, file.stem, sweep.data)
        try:
            pd.testing.assert_frame_equal(stored, pd.read_csv(file), rtol=TABLE_ROUNDING)
        except AssertionError:
            raise UnstableError(
                f"{sweep.store.path(TABLES + name) / file.name}: differs from what the same "
                "versions give here; use the locked packages (`make env`), or remove its folder "
                "and run `make results`"
            ) from None


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check, renew, remove or verify the stored results; print what was found."""
    parser = Parser(prog="python -m rrl.studies.results", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["check", "renew", "remove", "versions", "verify"])
    parser.add_argument("--all", action="store_true", help="verify all results and tables (hours)")
    options = parser.parse_args(argv)
    sweep = Sweep(())
    if options.what == "versions":
        print(*accept(), sep="\n")
    elif options.what == "renew":
        print(renew(sweep))
    elif options.what == "remove":
        print(remove(sweep))
    elif not sweep.store.index:
        print("no results are stored: all are computed, which takes longer")
    else:
        print(check(sweep))
        if options.what == "verify":
            print(verify(sweep, None if options.all else SAMPLE))


if __name__ == "__main__":
    sys.exit(main())
