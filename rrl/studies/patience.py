"""When a tuning may end early: what a shorter or a longer patience costs and saves.

``rrl tune`` ends when its agent `rrl-gp` has served what it recommends `patience` times in a row:
no trial was worth its price. ``python -m rrl.studies.patience`` prints a table for several
patiences, over all recorded loads. It reads the stored runs of `rrl-gp`, or races others from fresh
seeds with ``--first-seed``. An agent does not know its patience, so one run serves for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rrl.studies.race import Race
from rrl.studies.settings import Setting, cross
from rrl.studies.sweeps import Sweep
from rrl.support.errors import Parser, command
from rrl.support.intervals import bootstrap_interval
from rrl.support.number_options import COUNT, SEED

if TYPE_CHECKING:
    import pandas as pd

LOADS = {
    "mobilenet_v2-threads": (60.0, 115.0, 165.0),
    "mobilenet_v2-busy": (38.0, 76.0, 107.0),
    "mobilenet_v2-overload": (117.0,),
    "mobilenet_v2-batching": (60.0, 115.0, 165.0),
    "inception_v3-threads": (10.0, 21.0, 30.0),
    "keyword-threads": (450.0, 900.0, 1275.0),
}
"""The recorded loads, in requests per second."""

PATIENCES = (2, 3, 4, 6, 8, 10, 15, 20)
EPISODES, STORED = 60, 300  # of a tuning as in `rrl tune`; of a stored run


def patience_settings(seeds: int = 30, first_seed: int = 0) -> tuple[Setting, ...]:
    """Return the runs of the study; those from seed 0 are stored, and have more episodes."""
    where = [(name, load) for name, loads in LOADS.items() for load in loads]
    return cross(where, {"rrl-gp": seeds}, STORED if first_seed == 0 else EPISODES, first_seed)


def ends(runs: Race, patience: int, episodes: int = EPISODES) -> NDArray[np.int64]:
    """Return after how many episodes each run of a race ends.

    Parameters
    ----------
    runs : Race
    patience : int
        The agent must have served what it recommends this many times in a row.
    episodes : int
        A run ends here at the latest.

    Returns
    -------
    ndarray of int, shape (seeds,)

    Examples
    --------
    >>> served = np.array([[0, 1, 1, 1, 2, 1]])
    >>> runs = Race(served, np.array([[0, 0, 1, 1, 1, 1]]), 0.0)
    >>> ends(runs, 2, 6), ends(runs, 3, 6)
    (array([4]), array([6]))
    """
    last = []
    for served, best in zip(runs.chosen[:, :episodes], runs.recommended[:, :episodes], strict=True):
        kept = 0
        for number, (one, other) in enumerate(zip(served, best, strict=True), 1):
            same = number > 1 and other == best[number - 2]
            kept = (kept + 1 if same else 1) if one == other else 0
            if kept == patience:
                break
        last.append(number)
    return np.array(last)


def patience_table(sweep: Sweep, patiences: Sequence[int] = PATIENCES) -> pd.DataFrame:
    """Compare patiences over all problems and seeds of a sweep.

    Parameters
    ----------
    sweep : Sweep
        Runs of at least `EPISODES` episodes, see :func:`patience_settings`.
    patiences : sequence of int

    Returns
    -------
    DataFrame
        One row per patience; the numbers are over all runs. ``episodes`` is the mean number of
        episodes, ``switches`` that of changes of the configuration in them. ``other`` is the
        fraction of runs that recommend another configuration than after `EPISODES` episodes.
        ``cost`` is the mean of the true cost of what is recommended at the end in units of that
        after `EPISODES` episodes; ``low`` and ``high`` are its 95 % interval, for which problems
        and not runs are drawn. ``worst`` is the mean cost on the problem where it is highest.
    """
    import pandas as pd

    found, scenarios = sweep.run(progress=False), sweep.scenarios(progress=False)
    rows = []
    for patience in patiences:
        episodes, switches, other, costs = [], [], [], []
        for setting, runs in found.items():
            cost = scenarios[setting.problem].cost
            last = ends(runs, patience)
            rest = np.arange(len(last))
            early, late = runs.recommended[rest, last - 1], runs.recommended[:, EPISODES - 1]
            changed = np.diff(runs.chosen[:, :EPISODES], axis=1) != 0
            switches.append(
                np.mean([row[: n - 1].sum() for row, n in zip(changed, last, strict=True)])
            )
            episodes.append(last.mean())
            other.append((early != late).mean())
            costs.append((cost[early] / cost[late]).mean())
        mean, low, high = bootstrap_interval(
            np.array(costs), np.random.default_rng(0), statistic=np.mean
        )
        rows.append(
            {
                "patience": patience,
                "episodes": np.mean(episodes),
                "switches": np.mean(switches),
                "other": np.mean(other),
                "cost": mean,
                "low": low,
                "high": high,
                "worst": max(costs),
            }
        )
    return pd.DataFrame(rows)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(prog="python -m rrl.studies.patience", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=COUNT, default=30, help="how many (default 30)")
    parser.add_argument(
        "--first-seed", type=SEED, default=0, help="the first of them (default 0: the stored runs)"
    )
    parser.add_argument("--build", type=Path, default=Path("build"), help="for the pieces")
    options = parser.parse_args(argv)
    sweep = Sweep(patience_settings(options.seeds, options.first_seed), build=options.build)
    print(patience_table(sweep).to_string(index=False, float_format="%.3f"))


if __name__ == "__main__":
    raise SystemExit(main())
