"""Recorded measurements: what a profile is, and how it is read and checked.

A profile is a folder with two files. `profile.json` describes what was measured, where and how.
`episodes.csv` has one row per episode: the knobs, the load, and every request's latency and status.
Both are plain text, so a spreadsheet, pandas or git can show them.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rrl.core.space import ConfigSpace
from rrl.recording.table import from_table
from rrl.serving.settings import ENV, FLAG, read_value
from rrl.support.errors import DataError
from rrl.support.files import read_json, read_text
from rrl.tuning.presets import serving_knob

if TYPE_CHECKING:
    import pandas as pd

ADAPTIVE = -1  # batch threads that stand for TensorFlow's adaptive scheduler
SCHEMA = 3
READABLE = (1, 2, 3)  # they differ in the last columns, which nothing here reads
EPISODES, DESCRIPTION, REJECTED = "episodes.csv", "profile.json", "rejected.csv"
COLUMNS = {  # the columns of episodes.csv after the knobs
    "rate_per_s": "scheduled arrivals per second",
    "pass": "pass over the grid, from 0; every pass has a random order of its own",
    "repeat": "episode within the pass at this configuration and load",
    "order": "how many episodes were recorded before this one",
    "started": "when, ISO 8601, UTC",
    "valid": "1 unless the load generator itself was late enough to matter",
    "slip_share": "mean lateness of the load generator over mean latency",
    "start_s": "seconds that starting the server, or switching it, and warming it up took",
    "mean_s": "mean latency in seconds, all requests",
    "p99_s": "largest-but-1-% latency in seconds (numpy's linear quantile)",
    "failed": "requests that were not answered OK",
    "arrival_seed": "seed of the arrivals: the same for all configurations of a pass and load",
    "latencies_us": "latency of each request in microseconds, in order of arrival",
    "statuses": "gRPC status of each request where any failed; empty when all were OK",
}
OTHER_WORK = {"other_work": "fraction of the processor time that other processes used meanwhile"}
"""The further column of schema 3, after the others."""
_TEXT = ("latencies_us", "statuses", "started", "commit")


class Profile:
    """A recorded profile, read and checked.

    Parameters
    ----------
    description : mapping
        The content of `profile.json`.
    table : DataFrame
        One row per episode. The attribute `adaptive` has the rows of TensorFlow's adaptive
        scheduler, and `table` has the others. `grid` is `table` without the finals. In a pass of
        the grid, all configurations that took part got the same arrivals. In further passes these
        are only the good ones. An episode has `requests`.

    Examples
    --------
    >>> profile = read_profile("data/mobilenet_v2-threads")  # doctest: +SKIP
    >>> profile.summary().nsmallest(3, "mean_s")  # doctest: +SKIP
    """

    def __init__(self, description: Mapping[str, Any], table: pd.DataFrame) -> None:
        self.description = dict(description)
        plan = description["plan"]
        self.knobs: list[str] = list(plan["knobs"])
        self.requests = int(plan["requests"])  # of an episode
        adaptive = np.zeros(len(table), dtype=bool)
        if "batch_threads" in self.knobs:
            adaptive = table["batch_threads"].to_numpy() == ADAPTIVE
        self.adaptive = table[adaptive]
        self.table = table = table[~adaptive].reset_index(drop=True)
        self.grid_passes = int(plan["passes"]) + int(plan.get("again", 0))
        self.grid = table[table["pass"] < self.grid_passes]
        self.rates_per_s: list[float] = sorted(float(r) for r in table["rate_per_s"].unique())
        found = from_table(table[self.knobs], self.knobs)
        knobs = [serving_knob(knob.name, knob.values) for knob in found.knobs]
        cores = int(description["machine"]["cpus"])
        self.space = ConfigSpace(knobs, available=found.value_indices, cores=cores)

    def latencies(self, row: int) -> NDArray[np.float64]:
        """Return the latencies (s) of the episode in a row of the table, in order of arrival.

        Where a recording contains quantiles of the latencies, each stands for the same number of
        requests, and their order is random.
        """
        latency = np.array(self.table["latencies_us"].iloc[row].split(), dtype=float) / 1e6
        if len(latency) == self.requests:
            return latency
        latency = np.repeat(latency, -(-self.requests // len(latency)))
        return np.random.default_rng(row).permutation(latency)[: self.requests]

    def statuses(self, row: int) -> NDArray[np.int64]:
        """Return the gRPC statuses of the episode in a row of the table, in order of arrival."""
        text = self.table["statuses"].iloc[row]
        if not text:
            return np.zeros(self.requests, dtype=np.int64)
        return np.array(text.split(), dtype=np.int64)

    def summary(self) -> pd.DataFrame:
        """Return means over the repeats of each configuration and load, without the finals.

        Returns
        -------
        DataFrame
            The columns are the knobs, `rate_per_s`, `mean_s`, `p99_s` and `failed` (means over the
            episodes), `episodes` (their number) and `sem_s` (standard error of `mean_s`).
        """
        groups = self.grid.groupby([*self.knobs, "rate_per_s"], sort=True)
        summary = groups.agg(
            mean_s=("mean_s", "mean"),
            p99_s=("p99_s", "mean"),
            failed=("failed", "mean"),
            episodes=("mean_s", "size"),
            sem_s=("mean_s", "sem"),
        )
        return summary.reset_index()

    def surface(self, rate_per_s: float) -> NDArray[np.float64]:
        """Return the mean latencies (s) at one load, in the space's order, shape (n,)."""
        summary = self.summary()
        at_rate = summary[np.isclose(summary["rate_per_s"], rate_per_s)]
        values = np.full(len(self.space), np.nan)
        values[self.space.indices(at_rate)] = at_rate["mean_s"]
        return values

    def finalists(self, rate_per_s: float) -> list[dict[str, Any]]:
        """Return the results of the finals at a load, one per finalist.

        It is empty without finals, and for recordings that describe no verdicts of theirs.

        A result has the value of each knob, the `verdict` ("best", "tied", "separated" or
        "undecided"), the `ratio` to the best with its limits `low` and `high`, and `best_s`, a
        typical mean latency of the best in seconds.
        """
        finals = self.description.get("finals", {})
        return finals.get(f"{rate_per_s:g}", {}).get("finalists", [])


def read_profile(folder: str | os.PathLike[str]) -> Profile:
    """Read and check a profile.

    A complete profile has the hash of its episodes. A profile that is still being recorded has
    none; its `description["complete"]` is False.

    Raises
    ------
    DataError
        If a file is missing, truncated or changed, has another schema, or contradicts its
        description. The message names the file and the row.
    """
    import pandas as pd

    folder = Path(folder)
    path = folder / EPISODES
    try:
        description = read_json(folder / DESCRIPTION)
        text = read_text(path)
    except FileNotFoundError as error:
        raise DataError(
            f"{error.filename}: not found; restore it, or record it with `rrl profile`"
        ) from None
    _check_description(folder / DESCRIPTION, description)
    if description["complete"] and description["sha256"] != episodes_hash(path):
        raise DataError(
            f"{path}: changed since it was recorded (its sha256 is not that of {DESCRIPTION}); "
            "restore it, or record it again with `rrl profile`"
        )
    texts = [name for name in description["plan"]["knobs"] if name.startswith((FLAG, ENV))]
    try:
        table = pd.read_csv(
            io.StringIO(text),
            low_memory=False,
            keep_default_na=False,
            dtype=dict.fromkeys((*_TEXT, *texts), str),
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise DataError(f"{path}: corrupt or truncated ({error}); restore it") from None
    _check_table(path, description, table)
    for name in texts:
        table[name] = table[name].map(read_value)
    return Profile(description, table)


def episodes_hash(path: Path) -> str:
    """Return the hash of the episodes that a complete profile has: SHA-256 with LF line ends."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def _check_description(path: Path, description: Any) -> None:
    """Check that `profile.json` has what this module uses."""
    try:
        schema = description["schema"]
        if schema in READABLE:
            _ = description["complete"] and description["sha256"]
            plan, machine = description["plan"], description["machine"]
            _ = [int(number) for number in (plan["passes"], plan["requests"], machine["cpus"])]
            _ = plan["knobs"].items()
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{path}: no description of a profile ({error}); restore it") from None
    if schema not in READABLE:
        raise DataError(
            f"{path}: schema {schema!r}, this version of rrl reads {', '.join(map(str, READABLE))}"
        )


def _check_table(path: Path, description: Mapping[str, Any], table: pd.DataFrame) -> None:
    """Check what a recording has that is not complete: it has no hash yet."""
    knobs = list(description["plan"]["knobs"])
    wanted = [*knobs, *COLUMNS]
    if missing := [name for name in wanted if name not in table.columns]:
        raise DataError(f"{path}: missing column {missing[0]!r}; it needs {', '.join(wanted)}")
    if table.empty:
        raise DataError(f"{path}: no episode in it; record it with `rrl profile`")
    for name in COLUMNS:
        if name not in _TEXT and table[name].dtype.kind not in "iuf":
            raise DataError(f"{path}: a value of {name} is no number; restore the file")
    plan = description["plan"]
    latencies = plan.get("quantiles", plan["requests"])
    counts = table["latencies_us"].str.split().str.len()
    for row in np.flatnonzero(counts != latencies).tolist():
        raise DataError(
            f"{path}, line {row + 2}: {counts[row]} latencies, the plan has {latencies} "
            "(truncated?); restore the file or resume with `rrl profile`"
        )
    key = [*knobs, "rate_per_s", "pass", "repeat"]
    for row in np.flatnonzero(table.duplicated(key)).tolist():
        raise DataError(f"{path}, line {row + 2}: the same episode twice ({', '.join(key)})")
