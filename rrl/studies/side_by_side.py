"""Runs on live servers: several agents take turns, each on its own server, with the same arrivals.

So other programs on the machine affect all agents alike, and differences come from the agents. The
code at the tag `live-1` recorded the runs. A run is a folder of two files: `run.json` says what
ran, where and when, and `steps.csv` has one row per episode with every latency.

Runs are independent of each other, the episodes of a run are not. So the intervals of several runs
together (:func:`over_runs`) are over runs.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import ttest_1samp

from rrl.support.errors import DataError
from rrl.support.files import read_json

STEPS, DESCRIPTION = "steps.csv", "run.json"
FORMER = {"rrl": "rrl-gp", "rrl-boltzmann": "rrl"}
"""The present names of agents by those that runs of schema 1 have."""


def read_live_runs(folder: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """Read all runs of a folder: their descriptions, and one row per episode of all of them.

    The column `run` has the number of the run, and `latency_s` has an array in seconds.

    Raises
    ------
    DataError
        If there is no run, or a run is damaged.
    """
    files = {int(file.parent.name): file for file in Path(folder).glob(f"[0-9]*/{DESCRIPTION}")}
    if not files:
        raise DataError(f"{folder}: no run; restore it")
    descriptions, tables = [], []
    for number, file in sorted(files.items()):
        try:
            description = read_json(file)
            text = {"latencies_us": str, "knobs": str}
            table = pd.read_csv(file.with_name(STEPS), dtype=text)
            table["latency_s"] = [
                np.array(one.split(), dtype=float) / 1e6 for one in table.pop("latencies_us")
            ]
            if description["schema"] == 1:
                table["contestant"] = table["contestant"].replace(FORMER)
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise DataError(f"{file.parent}: damaged ({error}); restore it") from None
        descriptions.append(description)
        tables.append(table.assign(run=number))
    return descriptions, pd.concat(tables, ignore_index=True)


def run_ratios(steps: pd.DataFrame, base: str) -> pd.DataFrame:
    """Return each contestant's mean latency over that of `base`, one row per run.

    Examples
    --------
    >>> import pandas as pd
    >>> names, mean_s = ["a", "b", "a", "b"], [0.1, 0.2, 0.3, 0.2]
    >>> steps = pd.DataFrame({"run": 0, "episode": [0, 0, 1, 1], "contestant": names})
    >>> run_ratios(steps.assign(mean_s=mean_s), "b").loc[0].round(2).to_dict()
    {'a': 1.0}
    """
    means = steps.groupby(["run", "contestant"])["mean_s"].mean().unstack()
    return means.div(means.pop(base), axis="index")


def run_parts(steps: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the episodes of the whole run and of each half of its rounds, by name."""
    later = steps["episode"] >= steps["episode"].nunique() // 2
    return {"whole run": steps, "first half": steps[~later], "second half": steps[later]}


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
    logs = np.log(np.asarray(ratios, dtype=float))
    centre = math.exp(logs.mean())
    if len(logs) < 2:
        return centre, math.nan, math.nan
    ends = ttest_1samp(logs, 0.0).confidence_interval(0.95)
    return centre, math.exp(ends.low), math.exp(ends.high)


def judge_live(
    descriptions: Sequence[Mapping[str, Any]], steps: pd.DataFrame, base: str
) -> pd.DataFrame:
    """Say of each contestant of several runs whether it was faster than another, `base`.

    Returns
    -------
    DataFrame
        One row per contestant and part: the whole run, and each half of its rounds. `ratio` is the
        geometric mean over the runs of the mean latency over that of `base`, and `low` and `high`
        are its interval. A `verdict` needs all three parts. `kept` counts the runs after which the
        contestant recommends what `base` serves, and `runs` counts all.
    """
    parts = run_parts(steps)
    found = {part: over_runs(run_ratios(some, base)) for part, some in parts.items()}
    rows = []
    for name in found["whole run"]:
        limits = [found[part][name][1:] for part in parts]
        faster, slower = all(high < 1 for _, high in limits), all(low > 1 for low, _ in limits)
        verdict = "faster" if faster else "slower" if slower else "not decided"
        kept = sum(one["best"][name] == one["best"][base] for one in descriptions)
        about = verdict, kept, len(descriptions)
        rows += [(name, part, *found[part][name], *about) for part in parts]
    columns = ["contestant", "part", "ratio", "low", "high", "verdict", "kept", "runs"]
    return pd.DataFrame(rows, columns=columns)


def changes(steps: pd.DataFrame) -> pd.DataFrame:
    """Return what changes of the configuration cost each contestant, as a mean over the runs.

    Columns are the number of changes, the seconds of all together, the median seconds of one, and
    the trials that a guard ended. The first start of a server does not count.
    """
    later = steps[steps["episode"] > 0]
    seconds = later["switch_s"].where(later["switch_s"] > 0)
    by_contestant = later.assign(seconds=seconds).groupby("contestant")
    changed, ended, runs = by_contestant["seconds"], by_contestant["ended"], steps["run"].nunique()
    return pd.DataFrame(
        {
            "changes": changed.count() / runs,
            "seconds": changed.sum() / runs,
            "seconds per change": changed.median(),
            "ended by the guard": ended.count() / runs,
        }
    )
