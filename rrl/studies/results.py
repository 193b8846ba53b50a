"""The stored results: of which versions they are, and how they are renewed and checked.

``python -m rrl.studies.results WHAT``:

- ``check`` says what is stored, and fails if a result is of other versions than the present ones.
  It names the figures that rest on it, and the command that renews it.
- ``renew`` computes the results of other versions that notebooks read, and removes other results
  of other versions. Notebooks then store new ones (``make results``). Both can be stopped, and the
  same command goes on: until a result is stored, the old one stays, and ``check`` fails.
- ``versions`` gives the behaviours that have changed their next versions (``make versions``).
- ``verify`` checks, computes a sample of the stored runs again, and compares all numbers, but for
  rounding. Each commit has another sample. With ``--all`` it computes every run. It goes on from
  what it has computed with the same code, and reads no piece of another command.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from rrl.simulation.testbeds import TESTBEDS
from rrl.studies.behaviour import accept, changed, code
from rrl.studies.days import Arrays
from rrl.studies.problems import WITHOUT_LOAD, half_of
from rrl.studies.settings import TruthOf
from rrl.studies.sweep_store import Key, Spec, Store, read_arrays, result_key
from rrl.studies.sweeps import SEEDS_PER_PIECE, Sweep, pieces_of
from rrl.support.errors import Parser, UnstableError, UsageError, command
from rrl.support.files import read_json

SAMPLE = 60  # runs that are computed again
ROUNDING = 1e-12  # two costs may differ by this fraction; 1e-15 was seen between processors
MANIFEST = Path("figures") / "manifest.json"


# --- which versions the results are of ------------------------------------------------------------


GONE = ("cannot be made any more",)
"""Why a result is outdated if its agent cannot be made here, or its testbed no longer exists."""


def outdated(sweep: Sweep) -> dict[str, Key]:
    """Return the results of other versions by name, with what has changed in their keys."""
    store, late = sweep.store, dict[str, Key]()
    for name, spec in store.specs.items():
        late[name] = GONE
        testbed, _ = half_of(spec.testbed)
        with suppress(LookupError, ImportError, ValueError):
            spec.check()
            if testbed in (*TESTBEDS, *WITHOUT_LOAD) or (Path(sweep.data) / testbed).is_dir():
                late[name] = store.changes(name, result_key(spec, sweep.data))
    return {name: why for name, why in sorted(late.items()) if why}


def _read_by() -> dict[str, list[str]]:
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
        stored = sweep.store.specs
        runs = sum(getattr(spec, "seeds", 0) for spec in stored.values())
        return (
            f"read from data/results: {len(stored)} results ({runs} runs), "
            "all of the present versions; computed: what notebooks do not store"
        )
    reasons: dict[Key, list[str]] = defaultdict(list)
    for name, new in late.items():
        reasons[new].append(name)
    for new, names in reasons.items():
        print(f"{', '.join(new)}: {len(names)} stored results, such as {names[0]}")
    read = _read_by()
    figures = sorted({figure for name in late for figure in read.get(name, ())})
    print(f"figures and tables that rest on them: {', '.join(figures) or 'none'}")
    steps = "`make versions`, then `make results`" if unknown else "`make results`"
    raise UnstableError(
        f"{len(late)} of {len(sweep.store.index)} stored results are of other versions or missing, "
        f"and {len(figures)} figures and tables rest on them: nothing is drawn; {steps} renews them"
    )


def renew(sweep: Sweep) -> str:
    """Renew or remove what is of other versions, see the head of this module; return one line.

    A result whose file is missing is computed only: a notebook that reads it knows which of its
    arrays are to be stored.

    Raises
    ------
    UsageError
        If a behaviour has changed and has no version.
    """
    if missing := sorted(changed()):
        raise UsageError(f"{', '.join(missing)}: no versions yet; `make versions` gives them some")
    late, read, store = outdated(sweep), _read_by(), sweep.store
    old = {name: spec for name, spec in store.specs.items() if name in late}
    able = {name: spec for name, spec in old.items() if late[name] != GONE}
    wanted = {name: spec for name, spec in able.items() if name in read or not read}
    found = sweep.compute(wanted.values())
    for name, spec in wanted.items():
        path = store.path(name)
        kept = read_arrays(path).keys() & found[spec].keys() if path.exists() else ()
        found[spec] = {n: found[spec][n] for n in kept}
    sweep.save({spec: arrays for spec, arrays in found.items() if arrays})
    store.enter({}, gone=old.keys() - wanted.keys())
    return f"{len(wanted)} results computed, {len(old) - len(wanted)} removed"


def sample_of(sweep: Sweep, salt: str, count: int | None) -> list[tuple[str, Spec]]:
    """Choose runs to compute again: the name of each one's result, and its spec with one seed.

    Parameters
    ----------
    sweep : Sweep
    salt : str
        Another text selects another sample.
    count : int or None
        Of all runs and truths, this many are computed; without a count, all, in pieces.
    """
    size = SEEDS_PER_PIECE if count is None else 1
    stored = sorted(sweep.store.specs.items())
    every = [(name, one) for name, spec in stored for one in pieces_of(spec, size)]
    return every if count is None else random.Random(salt).sample(every, min(count, len(every)))


def verify(sweep: Sweep, count: int | None = SAMPLE) -> str:
    """Compute a sample of the stored results again, or all; return one line.

    Raises
    ------
    UnstableError
        If one differs. The message names its file, and its seeds if it is a race.
    DataError
        If a file is damaged.
    """
    chosen = sample_of(sweep, _commit(), count)
    build = sweep.folder.with_name("verify") / code()  # no piece from which a result was stored
    again = Sweep((), data=sweep.data, build=build, workers=sweep.workers)
    computed = again.compute(spec for _, spec in chosen)
    for name, spec in chosen:
        _compare(sweep.store, name, spec, computed[spec])
    share = f"{len({name for name, _ in chosen})} of {len(sweep.store.specs)}"
    return f"computed again: {share} stored results, and the same came out"


def _commit() -> str:
    """Return the commit of the checkout; empty outside one."""
    git = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(git, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def _compare(store: Store, name: str, spec: Spec, computed: Arrays) -> None:
    where, stored = "", read_arrays(store.path(name))
    if not isinstance(spec, TruthOf):
        first = spec.first_seed - store.index[name].spec.first_seed
        where = f", seeds {spec.first_seed} to {spec.first_seed + spec.seeds - 1}"
        stored = {array: rows[first : first + spec.seeds] for array, rows in stored.items()}
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
    parser.add_argument("--all", action="store_true", help="verify all results (hours)")
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
