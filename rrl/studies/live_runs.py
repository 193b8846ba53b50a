"""What runs on live servers say together: whose requests waited less, and what changes cost.

Each run is a folder of :mod:`rrl.studies.side_by_side`. Runs are independent of each other, the
episodes of a run are not. So intervals are over runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from rrl.studies.side_by_side import DESCRIPTION, read_steps
from rrl.support.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_live_runs(folder: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Read all complete runs of a folder: their descriptions, and their steps with a column `run`.

    Raises
    ------
    DataError
        If there is no complete run, or a run is damaged.
    """
    import pandas as pd

    names = {
        int(file.parent.name): file.parent for file in Path(folder).glob(f"[0-9]*/{DESCRIPTION}")
    }
    found = {number: read_steps(names[number]) for number in sorted(names)}
    whole = {number: run for number, run in found.items() if run[0]["complete"]}
    if not whole:
        raise DataError(
            f"{folder}: no complete run; record one with `python -m rrl.studies.live_phases`"
        )
    tables = {number: table for number, (_, table) in whole.items()}
    steps = pd.concat(tables, names=["run"]).reset_index(level="run").reset_index(drop=True)
    return [description for description, _ in whole.values()], steps


def run_ratios(steps: pd.DataFrame, base: str, since: int = 0) -> pd.DataFrame:
    """Return each contestant's mean latency over that of `base`, one row per run.

    Only episodes from `since` on count.

    Examples
    --------
    >>> import pandas as pd
    >>> names, mean_s = ["a", "b", "a", "b"], [0.1, 0.2, 0.3, 0.2]
    >>> steps = pd.DataFrame({"run": 0, "episode": [0, 0, 1, 1], "contestant": names})
    >>> run_ratios(steps.assign(mean_s=mean_s), "b").loc[0].round(2).to_dict()
    {'a': 1.0}
    """
    later = steps[steps["episode"] >= since]
    means = later.groupby(["run", "contestant"])["mean_s"].mean().unstack()
    return means.div(means.pop(base), axis="index")


def over_runs(ratios: pd.DataFrame) -> dict[str, tuple[float, float, float]]:
    """Return the geometric mean over the runs with its interval, for each contestant."""
    return {str(name): geometric_mean_interval(ratios[name]) for name in ratios}


def geometric_mean_interval(ratios: ArrayLike) -> tuple[float, float, float]:
    """Compute the geometric mean of positive ratios and its 95 % interval by Student's t.

    A few independent runs are too few for a bootstrap, whose interval would be too short. Limits
    for a single ratio are not known, so they are NaN.

    Examples
    --------
    >>> centre, low, high = geometric_mean_interval([0.8, 1.25, 1.0])
    >>> f"{centre:.2f} [{low:.2f}, {high:.2f}]"
    '1.00 [0.57, 1.74]'
    """
    from scipy.stats import ttest_1samp

    logs = np.log(np.asarray(ratios, dtype=float))
    centre = math.exp(logs.mean())
    if len(logs) < 2:
        return centre, math.nan, math.nan
    ends = ttest_1samp(logs, 0.0).confidence_interval(0.95)
    return centre, math.exp(ends.low), math.exp(ends.high)


def changes(steps: pd.DataFrame) -> pd.DataFrame:
    """Return what changes of the configuration cost each contestant, as a mean over the runs.

    Columns are the number of changes, those among them that restarted the server, the seconds of
    all together, the median seconds of a restart and of a change without one, and the trials that
    a guard ended. The first start of a server does not count.
    """
    import pandas as pd

    later = steps[steps["episode"] > 0]
    changed = later[later["switch_s"] > 0]
    restart = changed["restarts"] > 0
    runs = steps["run"].nunique()

    def by_contestant(rows: pd.DataFrame) -> Any:
        return rows.groupby("contestant")["switch_s"]

    found: Mapping[str, Any] = {
        "changes": by_contestant(changed).size() / runs,
        "restarts": by_contestant(changed[restart]).size() / runs,
        "seconds": by_contestant(changed).sum() / runs,
        "seconds per restart": by_contestant(changed[restart]).median(),
        "seconds without": by_contestant(changed[~restart]).median(),
        "ended by the guard": by_contestant(later[later["ended"].notna()]).size() / runs,
    }
    counted = ["changes", "restarts", "seconds", "ended by the guard"]
    table = pd.DataFrame(found, index=pd.Index(sorted(set(steps["contestant"])), name="contestant"))
    return table.fillna(dict.fromkeys(counted, 0.0))
