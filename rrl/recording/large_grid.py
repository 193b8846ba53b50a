"""A large grid, recorded beside a reference server: its quality, and the profile that it gives.

The recorder at the tag ``recorder-2`` appends a row per visit of a configuration, and no machine is
equally fast for hours. So each visit is divided by how slow the reference server was at that time,
in units of its median over the whole recording. This command prints how far the stages are. When
the last one has ended, it prints how much the visits scatter with and without the division::

    python -m rrl.recording.large_grid data/recording/keyword-joint data/plans/keyword-joint.yaml

With ``--out FOLDER`` it then writes the profile.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rrl.recording.profile import (
    COLUMNS,
    DESCRIPTION,
    EPISODES,
    OTHER_WORK,
    REJECTED,
    SCHEMA,
    episodes_hash,
)
from rrl.support.errors import DataError, Parser, command
from rrl.support.files import read_text, write_atomically
from rrl.tuning.presets import effective_space

if TYPE_CHECKING:
    import pandas as pd

Plan = Mapping[str, Any]
"""The content of a plan, such as ``data/plans/keyword-joint.yaml``."""
PASS, DRAW, FINAL = "pass", "draw", "final"
HALVES = ("A", "B")
STARTS = "starts.csv"
GAP = "10min"  # a longer time between two visits begins another running median
BLOCK = 100  # visits in a row; their mean shows the drift
OF_GRID = {
    "mean_s": "mean latency in seconds of the answered requests, divided by the reference",
    "latencies_us": "quantiles of the latency in microseconds, divided by the reference",
    "other_work": "fraction of the processor time that other processes used meanwhile, not stolen",
}
"""What these columns contain here, in place of the usual."""
REFUSED = 8  # gRPC's RESOURCE_EXHAUSTED, for requests that failed: a row only counts them


def read_plan(path: Path) -> Plan:
    """Read the plan of a large grid.

    Raises
    ------
    DataError
        If the file is no such plan.
    """
    import yaml

    try:
        plan = yaml.safe_load(read_text(path))
        _ = plan["knobs"], plan["draws"]["each"], plan["reference"]["window"], plan["hours"][FINAL]
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise DataError(f"{path}: no plan of a large grid ({error}); see data/plans") from None
    return plan


def read_visits(path: Path, plan: Plan) -> pd.DataFrame:
    """Read the visits in a file of the recorder.

    Returns
    -------
    DataFrame
        A row per visit with the columns of the file, in the order of their time. `index` is the
        number of the configuration, and `slow` is the reference's running median over its median.
        After a longer stop of the recorder, the running median begins anew.

    Raises
    ------
    DataError
        If the file is missing, or contains no visits of this plan.
    """
    import pandas as pd

    try:
        visits = pd.read_csv(path, dtype={"quantiles_us": str}).sort_values("order")
        index = effective_space(plan["knobs"]).indices(visits[list(plan["knobs"])])
        reference = (visits["reference_before_s"] + visits["reference_after_s"]) / 2
        stretch = (pd.to_datetime(visits["started"]).diff() > GAP).cumsum()
    except (OSError, LookupError, ValueError) as error:
        raise DataError(f"{path}: no visits of this plan ({error}); restore it") from None
    window = {"window": plan["reference"]["window"], "center": True, "min_periods": 1}
    running = reference.groupby(stretch).transform(lambda one: one.rolling(**window).median())
    visits = visits.assign(index=index, slow=running / reference.median())
    return visits.reset_index(drop=True)


def progress(visits: pd.DataFrame, rejected: pd.DataFrame) -> pd.DataFrame:
    """Return how many visits count and how many do not, and the hours of both, by stage."""
    import pandas as pd

    counts = {"visits": visits["stage"], "rejected": rejected["stage"]}
    table = pd.DataFrame({name: stage.value_counts() for name, stage in counts.items()})
    every = pd.concat([visits, rejected])
    table["hours"] = every.groupby("stage")["visit_s"].sum() / 3600
    return table.reindex([PASS, DRAW, FINAL]).fillna(0).astype(dict.fromkeys(counts, int))


def has_ended(visits: pd.DataFrame, plan: Plan, hours: float) -> bool:
    """Return whether the finals have all their rounds, or have used the hours of the plan."""
    finals = visits[visits["stage"] == FINAL]
    wanted = plan["finals"]["rounds"] * len(HALVES) * finals["index"].nunique()
    return hours >= plan["hours"][FINAL] or 0 < wanted == len(finals)


def quality(visits: pd.DataFrame) -> pd.DataFrame:
    """Return how much visits scatter and drift, and how alike the two passes order them.

    Returns
    -------
    DataFrame
        One row for the mean latencies as measured, and one for those divided by the reference.
        `repeats` is the standard deviation of the log mean of a visit among the visits of one
        configuration in one half, without the finals. `halves` is that of a visit by the difference
        of the two passes. `drift` is the standard deviation of the means over `BLOCK` visits in a
        row, each relative to all visits of its configuration. `rank_correlation` is Spearman's, of
        the two passes.
    """
    import pandas as pd
    from scipy.stats import spearmanr

    rows, grid = {}, visits["stage"] != FINAL
    for name, slow in (("measured", 1.0), ("divided", visits["slow"])):
        log = np.log(visits["mean_s"] / slow)
        cells = log[grid].groupby([visits["index"], visits["half"]])
        free = cells.size() - 1
        scatter = (cells.var() * free).sum() / (free.sum() or np.nan)
        once = log[visits["stage"] == PASS].groupby([visits["index"], visits["half"]]).first()
        passes = once.unstack().reindex(columns=HALVES).dropna()
        away = log - log.groupby(visits["index"]).transform("mean")
        rows[name] = {
            "repeats": np.sqrt(scatter),
            "halves": (passes["A"] - passes["B"]).std() / np.sqrt(2),
            "drift": away.groupby(np.arange(len(away)) // BLOCK).mean().std(),
            "rank_correlation": spearmanr(passes["A"], passes["B"]).statistic,
        }
    return pd.DataFrame(rows).T


def episodes(visits: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return the rows of a profile: visits divided by the reference.

    The passes 0, 2, ... are the half A, and the passes 1, 3, ... are the half B. A configuration is
    left out if the first pass of a half lacks it, or nothing was answered there. The last quantile
    of a row is raised to what the row's mean needs.
    """
    import pandas as pd

    measured = visits[visits["quantiles_us"].notna()]
    first = measured[measured["stage"] == PASS].groupby("index")["half"].nunique()
    visits = measured[measured["index"].isin(first.index[first == len(HALVES)])]
    before = visits["stage"].map({PASS: 0, DRAW: 1, FINAL: 1 + int(plan["draws"]["each"])})
    half = visits["half"].map(HALVES.index)
    slow, count = visits["slow"].to_numpy(), plan["quantiles"]
    micros = np.array([row.split() for row in visits["quantiles_us"]], dtype=float) / slow[:, None]
    p99_us = [np.interp(0.99, (np.arange(count) + 0.5) / count, row) for row in micros]
    # The last quantile also stands for the latencies above it, so it is raised to fit the mean:
    missing = 1e6 * visits["mean_s"].to_numpy() / slow - micros.mean(axis=1)
    micros[:, -1] += count * np.maximum(missing, 0.0)
    failed = [[0] * (plan["requests"] - n) + [REFUSED] * n for n in visits["failed"]]
    columns = {
        "rate_per_s": plan["rate_per_s"],
        "pass": len(HALVES) * (before + visits["draw"]) + half,
        "repeat": 0,
        "order": visits["order"],
        "started": visits["started"],
        "valid": 1,
        "slip_share": visits["slip"],
        "start_s": visits["start_s"],
        "mean_s": [f"{mean_s:.6f}" for mean_s in visits["mean_s"] / slow],
        "p99_s": [f"{value / 1e6:.6f}" for value in p99_us],
        "failed": visits["failed"],
        "arrival_seed": visits["arrival_seed"],
        "latencies_us": [" ".join(f"{x:.0f}" for x in row) for row in micros],
        "statuses": [" ".join(map(str, row)) if any(row) else "" for row in failed],
        "other_work": visits["foreign"],
    }
    return pd.DataFrame({**{knob: visits[knob] for knob in plan["knobs"]}, **columns})


def write_profile(folder: Path, visits: pd.DataFrame, plan: Plan, start: Mapping[str, Any]) -> None:
    """Write the profile of a recording, which is complete then.

    Parameters
    ----------
    folder : Path
    visits : DataFrame
        See :func:`read_visits`.
    plan : mapping
        See :func:`read_plan`.
    start : mapping
        The row of ``starts.csv`` that says on which machine the recorder began.
    """
    folder.mkdir(parents=True, exist_ok=True)
    table = episodes(visits, plan).to_csv(index=False, lineterminator="\n")
    write_atomically(folder / EPISODES, table)
    versions = dict(one.split("=") for one in str(start["versions"]).split())
    kept = ("model", "knobs", "fixed", "requests", "quantiles", "seed")
    description = {
        "schema": SCHEMA,
        "complete": True,
        "recorded": str(visits["started"].max())[:10],
        "machine": {
            "processor": start["processor"], "cpus": int(start["cpus"]), "versions": versions,
        },
        "plan": {
            **{name: plan[name] for name in kept},
            "rates_per_s": [float(plan["rate_per_s"])],
            "passes": len(HALVES),
            "again": len(HALVES) * int(plan["draws"]["each"]),
            "repeats": 1,
            "distinct": True,
        },
        "columns": COLUMNS | OTHER_WORK | OF_GRID,
        "sha256": episodes_hash(folder / EPISODES),
    }  # fmt: skip
    write_atomically(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the progress of a recording and, if it has ended, its quality; write its profile."""
    import pandas as pd

    about = "Print the progress and the quality of a large grid, and write its profile."
    parser = Parser("python -m rrl.recording.large_grid", description=about)
    parser.add_argument("recording", type=Path, help="the folder that the recorder appends to")
    parser.add_argument("plan", type=Path, help="a file of data/plans/")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the profile here")
    options = parser.parse_args(argv)
    plan = read_plan(options.plan)
    visits = read_visits(options.recording / EPISODES, plan)
    lost = options.recording / REJECTED
    rejected = read_visits(lost, plan) if lost.exists() else visits[:0]
    table = progress(visits, rejected)
    print(table.round(2))
    if not has_ended(visits, plan, table.loc[FINAL, "hours"]):
        print("not ended: nobody reads a latency before the finals have ended")
        return 0
    print(quality(visits).round(3))
    if options.out:
        starts = pd.read_csv(options.recording / STARTS)
        write_profile(options.out, visits, plan, starts[starts["accepted"] == 1].iloc[-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
