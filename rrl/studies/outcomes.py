"""Tables of race results: a row per run, and medians and duels with their intervals.

Numbers of episodes until an event are censored at the horizon. If the event never happens in a
run, the number is one more than the horizon: it is only known to be larger.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import gmean

from rrl.core.space import Floats
from rrl.studies.problems import WITHOUT_LOAD
from rrl.studies.race import Race, counts_episodes, score
from rrl.studies.scenario import Scenario
from rrl.studies.settings import Problem, Setting
from rrl.support.files import write_atomically
from rrl.support.intervals import bootstrap_interval, ratio_interval

Results = Mapping[Setting, Race]
Statistic = Callable[..., Floats]

COMPARED = ("first_within_5", "stays_within_5", "deployed", "mean_cost")
"""The measures by which agents are compared, see :func:`rrl.studies.race.score`.

Smaller values are better in all of them.
"""


def median_of(measure: str, episodes: int) -> Statistic:
    """Return the function for the median of a measure: a censored one for numbers of episodes.

    A number above `episodes` is only known to be larger. So a median between such a number and a
    smaller one is one more than `episodes`, too.

    Examples
    --------
    >>> middle_two = np.array([2.0, 11.0])
    >>> names = "stays_within_5", "mean_cost"
    >>> [median_of(name, episodes=10)(middle_two).item() for name in names]
    [11.0, 6.5]
    """
    return partial(_censored, most=episodes + 1) if counts_episodes(measure) else np.median


def _censored(times: Floats, most: float, axis: int | None = None) -> Floats:
    times = np.where(np.asarray(times) >= most, np.inf, times)
    return np.minimum(np.median(times, axis=axis), most)


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


def medians(
    runs: pd.DataFrame, by: Sequence[str], names: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Return the median of some measures with its 95 % interval, one row per group of runs.

    Of a measure that is true or false, it is the fraction of the runs for which it is true.

    Parameters
    ----------
    runs : DataFrame
        Numbers of episodes are censored at the column `episodes`.
    by : sequence of str
        The columns that tell the groups apart.
    names : sequence of str
        The measures, see :func:`rrl.studies.race.score`.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        The columns are `by`, `seeds`, and for each measure its median and the limits of its
        interval, such as ``mean_cost``, ``mean_cost_low`` and ``mean_cost_high``.
    """
    rows = []
    for key, group in runs.groupby(list(by), sort=False):
        row: dict[str, Any] = dict(zip(by, key, strict=True)) | {"seeds": len(group)}
        for name in names:
            values = group[name].infer_objects()  # objects, if other runs lack a value
            median = median_of(name, group["episodes"].iloc[0])
            row |= interval(name, values, rng, np.mean if values.dtype == bool else median)
        rows.append(row)
    return pd.DataFrame(rows)


def duels(
    runs: pd.DataFrame, ours: str, rng: np.random.Generator, names: Sequence[str] = COMPARED
) -> pd.DataFrame:
    """Compare one agent with each other agent, seed by seed: what it won and lost.

    Parameters
    ----------
    runs : DataFrame
        It has a row per run, with the columns `problem`, `agent`, `seed`, `episodes` and the
        measures, see :func:`runs_table`.
    ours : str
        This is the agent that is compared with the others.
    rng : numpy.random.Generator
    names : sequence of str, optional
        The measures. Smaller values are better.

    Returns
    -------
    DataFrame
        It has one row per problem, rival and measure. `ours` and `theirs` are medians. `ratio` is
        the median of theirs divided by ours per seed, and `low` and `high` are the limits of its
        interval. `verdict` is "won" if the interval lies above 1, "lost" if it lies below 1, and
        otherwise "tied".
    """
    of_ours = runs["agent"] == ours
    own = runs.loc[of_ours, ["problem", "seed", *names]]
    pairs = runs[~of_ours].merge(own, on=["problem", "seed"], suffixes=("", "_ours"))
    rows = []
    for (problem, rival), both in pairs.groupby(["problem", "agent"], sort=False):
        for measure in names:
            middle = median_of(measure, both["episodes"].iloc[0])
            theirs, mine = (both[f"{measure}{end}"].to_numpy() for end in ("", "_ours"))
            ratio, low, high = ratio_interval(theirs, mine, rng)
            rows.append(
                {
                    "problem": problem,
                    "rival": rival,
                    "measure": measure,
                    "seeds": len(both),
                    "ours": float(middle(mine)),
                    "theirs": float(middle(theirs)),
                    "ratio": ratio,
                    "low": low,
                    "high": high,
                    "verdict": "won" if low > 1 else "lost" if high < 1 else "tied",
                }
            )
    return pd.DataFrame(rows)


def agreed(rows: pd.DataFrame, by: Sequence[str] = ("rival", "measure")) -> pd.Series:
    """Return the verdict of both halves of a recording for each row, and "tied" if they disagree.

    A problem without a second half (``/1`` in its name) keeps its verdict.

    Parameters
    ----------
    rows : DataFrame
        The columns are `problem`, `verdict` and those of `by`.
    by : sequence of str
        The columns that tell the duels on a problem apart.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = ["problem", "rival", "verdict"]
    >>> rows = [("p 9/s", "a", "won"), ("p/1 9/s", "a", "tied"), ("gpu 9/s", "a", "won")]
    >>> agreed(pd.DataFrame(rows, columns=columns), ["rival"]).to_list()
    ['tied', 'tied', 'won']
    """
    load = rows["problem"].str.replace("/1", "")
    halves = rows["verdict"].groupby([load, *(rows[name] for name in by)])
    return halves.transform(lambda own: own.iloc[0] if own.nunique() == 1 else "tied")


def tally(rows: pd.DataFrame, by: str = "measure") -> pd.DataFrame:
    """Count what was won, tied and lost in the column `verdict`: one row per value of `by`."""
    counts = rows.groupby([by, "verdict"]).size().unstack(fill_value=0)
    words = ["won", "tied", "lost"]
    return counts.reindex(index=rows[by].unique(), columns=words, fill_value=0)


def best_settings(log: pd.DataFrame, aim: str) -> pd.Series:
    """Return the setting of each agent with the lowest geometric mean over the problems.

    Parameters
    ----------
    log : DataFrame
        A row per agent, `settings` (JSON) and `problem`, such as ``data/choosing/rivals.csv``.
    aim : str
        The column to minimise.

    Returns
    -------
    Series
        The `settings` by `agent`. Settings that were not raced on all problems of their agent are
        left out.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = ["agent", "settings", "problem", "mean_cost"]
    >>> rows = [("a", "1", "p", 2.0), ("a", "1", "q", 8.0), ("a", "2", "p", 3.0)]
    >>> best_settings(pd.DataFrame(rows, columns=columns), "mean_cost").to_dict()
    {'a': '1'}
    """
    groups = log.groupby(["agent", "settings"], sort=False)
    count, typical = groups["problem"].nunique(), groups[aim].agg(gmean)
    typical = typical[count == count.groupby("agent").transform("max")]
    chosen = typical.loc[typical.groupby("agent", sort=False).idxmin()]
    return chosen.reset_index("settings")["settings"]


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
