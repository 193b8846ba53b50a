"""Check the stored results of sweeps: ``python -m rrl.studies.sweep_check``.

``recompute`` runs a share of the stored runs again and compares them byte by byte: one of each
agent on each testbed, and each eighth truth. The digests select the settings and the seeds, so a
change of the code selects others. Results that are outdated are counted, not compared. ``keep``
removes what no notebook wanted while the results were stored.

The costs of a truth may differ by rounding. NumPy has an exponential and a logarithm of
its own for processors with AVX-512, and their last bit is not always that of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rrl.studies.days import Day
from rrl.studies.pieces import Arrays
from rrl.studies.settings import Setting
from rrl.studies.sweep_store import Store, differing
from rrl.studies.sweeps import WANTED, Result, Sweep, Task
from rrl.support.errors import Parser, UnstableError, UsageError, command

TRUTHS = 8  # one of so many truths is computed again
RUNS = Setting | Day  # what has seeds; all else is a truth
ROUNDING = 1e-12  # two truths may differ by this share; 1e-15 was seen between processors


class Recomputed(NamedTuple):
    """A part of a stored result that is computed again: the result, the piece, the seed if any.

    The seed counts from the first one of the setting.
    """

    result: Result
    task: Task
    seed: int | None


def wanted_now(sweep: Sweep) -> dict[str, Result]:
    """Return what the present code makes of each stored result, by name.

    A result is left out if its agent cannot be made here, or its testbed no longer exists.
    """
    found = {}
    for name, (what, _) in sweep.store.index.items():
        try:
            found[name] = sweep.result(what) if isinstance(what, RUNS) else sweep.truth(what)
        except (LookupError, ImportError, ValueError):  # an agent or a testbed that is gone
            continue
    return found


def outdated(sweep: Sweep) -> list[str]:
    """Return the names of the stored results that are not of the present code and data."""
    now, store = wanted_now(sweep), sweep.store
    return [n for n in store.index if n not in now or not store.is_present(n, now[n].entry.digest)]


def recomputed_share(sweep: Sweep) -> list[Recomputed]:
    """Choose what to compute again: a run of each agent on each testbed, and each eighth truth."""
    found, seen = [], set()
    for name, result in sorted(wanted_now(sweep).items(), key=lambda item: item[1].entry.digest):
        what, number = result.entry.what, int(result.entry.digest, 16)
        if not sweep.store.is_present(name, result.entry.digest):
            continue
        if not isinstance(what, RUNS):
            if number % TRUTHS == 0:
                found.append(Recomputed(result, result.tasks[0], None))
        elif (type(what), what.testbed, what.agent) not in seen:
            seen.add((type(what), what.testbed, what.agent))
            seed = number % what.seeds
            (task,) = sweep.result(what, [[what.first_seed + seed]]).tasks
            found.append(Recomputed(result, task, seed))
    return found


def recompute(sweep: Sweep, progress: bool = True) -> str:
    """Compute the samples, and return one line that says that they are as stored.

    Raises
    ------
    UnstableError
        If one differs. The message names its file and its seed.
    DataError
        If a file is damaged.
    """
    chosen = recomputed_share(sweep)
    stored = {sample.result.name: sweep.store.read(sample.result.name) for sample in chosen}
    computed = sweep.compute([sample.task for sample in chosen], progress)
    for sample in chosen:
        _compare(sweep.store, sample, stored[sample.result.name], computed[sample.task.key])
    runs = [sample.seed for sample in chosen if sample.seed is not None]
    total = sum(what.seeds for what, _ in sweep.store.index.values() if isinstance(what, RUNS))
    truths = sum(not isinstance(what, RUNS) for what, _ in sweep.store.index.values())
    return (
        f"recomputed {len(runs)} of {total} stored runs (one of each agent on each testbed) and "
        f"{len(chosen) - len(runs)} of {truths} stored truths: the same"
    )


def _compare(store: Store, sample: Recomputed, stored: Arrays, computed: Arrays) -> None:
    what = ""
    if sample.seed is not None:
        what = f", seed {sample.seed}"
        stored = {name: array[sample.seed : sample.seed + 1] for name, array in stored.items()}
        computed = {name: array for name, array in computed.items() if name in stored}
    elif "cost" in stored and _is_rounding(stored["cost"], computed["cost"]):
        stored = stored | {"cost": computed["cost"]}
    if names := differing(stored, computed):
        path = store.path(sample.result.name)
        raise UnstableError(
            f"{path}{what}: {' and '.join(names)} differ from what the same code and data give "
            "here; use the locked versions (`make env`), or remove the file and run `make sweeps`"
        )


def _is_rounding(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=ROUNDING, atol=0)


def keep(sweep: Sweep) -> str:
    """Remove the stored results that were not wanted, and return one line about what is there."""
    path = sweep.folder / WANTED
    if not path.exists():
        raise UsageError(f"{path}: nothing was stored; run `make sweeps`")
    gone = sweep.store.keep(sorted(set(path.read_text(encoding="utf-8").splitlines())))
    path.unlink()
    size = sum(file.stat().st_size for file in sweep.store.folder.rglob("*") if file.is_file())
    removed = f", {len(gone)} older files removed" if gone else ""
    return f"{len(sweep.store.index)} results are stored, {size / 1e6:.1f} MB{removed}"


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Check or tidy the stored results; print one line."""
    parser = Parser(prog="python -m rrl.studies.sweep_check", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["recompute", "keep"])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the profiles")
    parser.add_argument("--build", type=Path, default=Path("build"), help="folder of the pieces")
    options = parser.parse_args(argv)
    sweep = Sweep((), data=options.data, build=options.build)
    if options.what == "keep":
        print(keep(sweep))
        return
    if not sweep.store.index:
        print("no results of sweeps are stored: all are computed, which takes longer")
        return
    if late := outdated(sweep):
        print(
            f"{len(late)} of {len(sweep.store.index)} stored results of sweeps are outdated and "
            "will be computed, which takes longer; `make sweeps` stores them"
        )
    print(recompute(sweep))


if __name__ == "__main__":
    import sys

    sys.exit(main())
