"""The stored results: of which versions they are, and how they are renewed and checked.

``python -m rrl.studies.results WHAT``:

- ``check`` says what is stored, and fails if a result is of other versions than the present ones.
  It names the figures that rest on it, and the command that renews it.
- ``renew`` makes the tables of other versions anew, and computes the results of other versions that
  notebooks read. The notebooks then store these results (``make results``). It can be stopped, and
  the same command goes on. It removes all that is of other versions at the end.
- ``versions`` gives the behaviours that have changed their next versions (``make versions``).
- ``verify`` checks, computes a sample of the stored runs again, and compares all numbers, but for
  rounding. Each commit has another sample. With ``--all`` it computes every run. It goes on from
  what it has computed with the same code, and reads no piece of another command.

Besides runs and truths, the store has tables of runs that are no single races. A table depends on
versions of agents, problems and the judge, too, and has a line in the index. :func:`table_file`
returns the path of a file of a table if the table is of the present versions.
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

from rrl.studies.ablation import FAMILIES, make_ablation
from rrl.studies.ablation import PROBLEMS as ABLATION_PROBLEMS
from rrl.studies.behaviour import accept, changed, code
from rrl.studies.days import Arrays
from rrl.studies.horizons import HORIZONS, RACED, RADII, SEEDS, RadiusRace, race_seed
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
MANIFEST = Path("figures") / "manifest.json"


# --- tables of runs that are no single races ------------------------------------------------------

JUDGE = ("judge loop", "judge truth", "judge measures")


class Table(NamedTuple):
    """What a table depends on, and the function that makes its files.

    Parameters
    ----------
    behaviours : tuple of str
        Agents and parts of the judge, such as ``"agent rrl"``.
    testbeds : tuple of str
    make : callable
        It takes the folder of the table and a sweep, which has the folder of the data.
    """

    behaviours: Key
    testbeds: tuple[str, ...]
    make: Callable[[Path, Sweep], None]

    def key(self, data: str | os.PathLike[str]) -> Key:
        """Return what the table depends on, as the key of a result does."""
        return key_of(self.behaviours, self.testbeds, str(data))


def tables() -> dict[str, Table]:
    """Return all tables by name."""
    varied = dict.fromkeys(f"agent {name}" for family in FAMILIES.values() for name in family)
    mapped = ("rrl", "rrl-adaptive", "q-learning", "deep-q-network")
    return {
        "ablation": Table(
            (*varied, *JUDGE), tuple(testbed for testbed, _ in ABLATION_PROBLEMS), make_ablation
        ),
        "horizons": Table(
            ("agent rrl", "agent rrl-adaptive", "judge horizons"),
            tuple(dict.fromkeys(name.split(",")[0] for name in RACED)),
            make_horizons,
        ),
        "region-map": Table(
            (*(f"agent {name}" for name in mapped), *JUDGE, "judge map"),
            (*SIMULATED, *RECORDED),
            make_map,
        ),
    }


def make_horizons(folder: Path, sweep: Sweep) -> None:
    """Race what is missing of the radii (:mod:`rrl.studies.horizons`), and write the files."""
    key, tasks = tables()["horizons"].key(sweep.data), []
    for name, seed in product(RACED, range(SEEDS)):
        what = name, seed, HORIZONS, RADII
        tasks.append(Task(("horizons", *what, key), race_seed, (*what, sweep.data)))
    found = sweep.compute(tasks)
    for table in RadiusRace._fields:
        parts = [pd.DataFrame(arrays[table]) for arrays in found]
        write_csv(pd.concat(parts), folder / f"{table}.csv")


def table_file(name: str, file: str, data: str | os.PathLike[str] = "data") -> Path:
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
        If the table is of other versions, or it or the file is missing. The message says which.

    Examples
    --------
    >>> table_file("horizons", "runs.csv").name
    'runs.csv'
    """
    store, entry = Store(Path(data) / "results"), TABLES + name
    path = store.path(entry) / file
    if new := store.changes(entry, tables()[name].key(data)):
        why = ", ".join(new)
        raise DataError(f"{path}: not of the present versions ({why}); `make results` renews it")
    if not path.exists():
        remedy = "remove its folder, then `make results` makes the table anew"
        raise DataError(f"{path}: not stored; {remedy}")
    return path


def renew_table(name: str, sweep: Sweep) -> None:
    """Make a table anew, and enter it in the index; pieces that a sweep has are not run again."""
    table = tables()[name]
    key = table.key(sweep.data)
    table.make(sweep.store.path(TABLES + name), sweep)
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
    """Renew the tables, compute what else notebooks read, and remove what is old; return one line.

    The notebooks store these results, because they know which arrays they read.

    Raises
    ------
    UsageError
        If a behaviour has changed and has no version.
    """
    if missing := sorted(changed()):
        raise UsageError(f"{', '.join(missing)}: no versions yet; `make versions` gives them some")
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
    old = [name for name in outdated(sweep) if name in sweep.store]
    sweep.store.forget(old)
    return f"{len(wanted)} results computed, {len(made)} tables renewed, {len(old)} removed"


def sample_of(sweep: Sweep, salt: str, count: int | None) -> list[tuple[str, Run]]:
    """Choose results to compute again: the name of each, and a part of its seeds.

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
    """Compute a sample of the stored results again, or all; return one line: they are the same.

    Raises
    ------
    UnstableError
        If one differs. The message names its file and its seed.
    DataError
        If a file is damaged.
    """
    chosen = sample_of(sweep, _commit(), count)
    build = sweep.folder.with_name("verify") / code()  # no piece from which a result was stored
    again = Sweep((), data=sweep.data, build=build, workers=sweep.workers)
    computed = again.computed(what for _, what in chosen)
    for name, what in chosen:
        _compare(sweep.store, name, what, computed[what])
    share = f"{len({name for name, _ in chosen})} of {len(sweep.store.runs)}"
    return f"computed again: {share} stored results, and the same came out"


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


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check, renew or verify the stored results; print what was found."""
    parser = Parser(prog="python -m rrl.studies.results", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["check", "renew", "versions", "verify"])
    parser.add_argument("--all", action="store_true", help="verify every stored result (hours)")
    options = parser.parse_args(argv)
    sweep = Sweep(())
    if options.what == "versions":
        print(*accept(), sep="\n")
    elif options.what == "renew":
        print(renew(sweep))
    elif not sweep.store.index:
        print("no results are stored: all are computed, which takes longer")
    else:
        print(check(sweep))
        if options.what == "verify":
            print(verify(sweep, None if options.all else SAMPLE))


if __name__ == "__main__":
    sys.exit(main())
