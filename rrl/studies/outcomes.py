"""Tables of race results: a row per run, what clients pay, and comparisons with intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rrl.core.space import Floats
from rrl.studies.measures import STUCK, ratio_of_excesses
from rrl.studies.problems import WITHOUT_LOAD
from rrl.studies.race import Race, score
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Problem, Setting
from rrl.support.files import write_atomically
from rrl.support.intervals import bootstrap_interval

Results = Mapping[Setting, Race]
Statistic = Callable[..., Floats]


def name_of(problem: Problem) -> str:
    """Return a short name of a problem; a table of costs has no load.

    Examples
    --------
    >>> name_of(("cpu10", 12.5)), name_of(("gpu", ("FlashCrowd", 100.0, 900.0, 30.0)))
    ('cpu10 12.5/s', 'gpu FlashCrowd')
    """
    testbed, load = problem
    if testbed in WITHOUT_LOAD:
        return testbed
    return f"{testbed} {load:g}/s" if isinstance(load, int | float) else f"{testbed} {load[0]}"


def runs_table(results: Results, scenarios: Mapping[Problem, Scenario]) -> pd.DataFrame:
    """Return one row per run, from which all tables of races are made.

    Returns
    -------
    DataFrame
        The columns are `problem`, `agent`, `seed`, `episodes` and all measures of
        :func:`rrl.studies.race.score`.

    Raises
    ------
    ValueError
        If two runs have the same problem, agent and seed, because they differ only in what has no
        column, such as the objective. Make a table of each.
    """
    tables = []
    for setting, runs in results.items():
        head = {
            "problem": name_of(setting.problem),
            "agent": setting.agent,
            "seed": setting.first_seed + np.arange(len(runs.chosen)),
            "episodes": setting.episodes,
        }
        tables.append(pd.DataFrame(head | score(scenarios[setting.problem], runs)))
    table = pd.concat(tables, ignore_index=True)
    for row in table[table.duplicated(["problem", "agent", "seed"])].itertuples():
        which = f"{row.agent} on {row.problem} from seed {row.seed}"
        raise ValueError(f"two runs of {which}: make a table of each setting")
    return table


def what_clients_pay(
    runs: pd.DataFrame, by: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the mean excess, the mean level and the share of stuck runs, one row per group.

    Parameters
    ----------
    runs : DataFrame
        A row per run, with the columns of `by`, and `excess` and `level` of the run.
    by : sequence of str
        The columns that tell the groups apart.
    rng : numpy.random.Generator
        Runs are drawn again for the interval of the excess.

    Returns
    -------
    DataFrame
        The columns are `by`, `seeds`, `excess` with its limits `excess_low` and `excess_high` (NaN
        for a single run), `level` and `stuck`.

    Examples
    --------
    >>> import pandas as pd
    >>> runs = pd.DataFrame({"agent": "a", "excess": [0.5, 0.7], "level": [0.1, 0.3]})
    >>> paid = what_clients_pay(runs, ["agent"], np.random.default_rng(0))
    >>> paid[["agent", "seeds", "excess", "level", "stuck"]]
      agent  seeds  excess  level  stuck
    0     a      2     0.6    0.2    0.5
    """
    rows = []
    for key, group in runs.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"seeds": len(group)}
        row |= interval("excess", group["excess"], rng, np.mean)
        if len(group) == 1:
            row |= {"excess_low": np.nan, "excess_high": np.nan}
        row |= {"level": group["level"].mean(), "stuck": (group["level"] > STUCK).mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def beside(paid: pd.DataFrame, reference: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the excess of each agent over that of a reference, as a mean over the problems.

    Parameters
    ----------
    paid : DataFrame
        One row per problem and agent, with their `excess` and `stuck`, see
        :func:`what_clients_pay`. The reference has run on all problems.
    reference : str
        The agent by whose excess those of the others are divided.
    rng : numpy.random.Generator
        Problems are drawn again for the interval.

    Returns
    -------
    DataFrame
        One row per agent, lowest ratio first: the number of `problems`, the `ratio` with its limits
        `low` and `high` (:func:`rrl.studies.measures.ratio_of_excesses`), and the mean of `stuck`.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = ["problem", "agent", "excess", "stuck"]
    >>> rows = [("p", "a", 0.1, 0.0), ("p", "b", 0.2, 0.5), ("q", "a", 1.0, 0.0), ("q", "b", 2, 1)]
    >>> table = beside(pd.DataFrame(rows, columns=columns), "a", np.random.default_rng(0))
    >>> table.loc["b", ["ratio", "stuck"]].round(2).to_dict()
    {'ratio': 2.0, 'stuck': 0.75}
    """
    excess = paid.pivot(index="problem", columns="agent", values="excess")
    rows = {}
    for agent in paid["agent"].unique():
        own = excess[agent].dropna()
        rows[agent] = (len(own), *ratio_of_excesses(own, excess.loc[own.index, reference], rng))
    columns = ["problems", "ratio", "low", "high"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table["stuck"] = paid.groupby("agent")["stuck"].mean()
    return table.rename_axis("agent").sort_values("ratio")


def medians(
    runs: pd.DataFrame, by: Sequence[str], names: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the median of some measures with its 95 % interval, one row per group of runs.

    Of a measure that is true or false, it is the fraction of the runs for which it is true.

    Parameters
    ----------
    runs : DataFrame
    by : sequence of str
        The columns that tell the groups apart.
    names : sequence of str
        The columns of the measures.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        The columns are `by`, `seeds`, and for each measure its median and the limits of its
        interval, such as ``p99``, ``p99_low`` and ``p99_high``.
    """
    rows = []
    for key, group in runs.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"seeds": len(group)}
        for name in names:
            values = group[name].infer_objects()  # objects, if other runs lack a value
            row |= interval(name, values, rng, np.mean if values.dtype == bool else np.median)
        rows.append(row)
    return pd.DataFrame(rows)


def interval(
    name: str, values: ArrayLike, rng: np.random.Generator, statistic: Statistic = np.median
) -> dict[str, float]:
    """Return a median, or another statistic, with the limits of its 95 % interval, as columns."""
    numbers = np.asarray(values, dtype=float)
    centre, low, high = bootstrap_interval(numbers, rng, statistic=statistic)
    return {name: centre, f"{name}_low": low, f"{name}_high": high}


def write_csv(
    table: pd.DataFrame, path: str | os.PathLike[str], float_format: str | None = None
) -> None:
    """Write a table without its index; by default, numbers have the digits that tell them apart."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    text = table.to_csv(index=False, float_format=float_format, lineterminator="\n")
    write_atomically(Path(path), text)


def write_table(table: pd.DataFrame, name: str, folder: str | os.PathLike[str]) -> None:
    """Write ``name.csv`` with five significant digits."""
    write_csv(table, Path(folder) / f"{name}.csv", "%.5g")
