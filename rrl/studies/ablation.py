"""The ablation: what the size of the region, and what the agent assumes, are worth.

Each agent differs in one part from the reference of its family, the recommended `rrl-gp` or the
paper's `rrl`. All meet the same arrivals. :func:`make_ablation` races them as a
:class:`rrl.studies.sweeps.Sweep`, so it can be stopped and run again. :func:`ablation_table`
compares them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pandas as pd

from rrl.studies.outcomes import COMPARED, Problem, interval, median_of, runs_table
from rrl.studies.problems import ANY_LOAD, MADE, SURFACES
from rrl.studies.settings import Setting, cross
from rrl.studies.sweeps import Sweep
from rrl.support.intervals import bootstrap_interval

FAMILIES = {
    "rrl-gp": (
        "rrl-gp",
        "rrl-gp-flat-constant",
        "rrl-gp-no-middle",
        "rrl-gp-reach-1",
        "rrl-gp-reach-3",
        "rrl-gp-flat-prior",
        "rrl-gp-expected-lengths",
        "rrl-gp-one-length",
        "random",
    ),
    "rrl": (
        "rrl",
        "rrl-radius-2",
        "rrl-wide",
        "rrl-schedule",
        "rrl-random-radius",
        "rrl-adaptive-flat-prior",
        "rrl-adaptive",
        "zooming",
    ),
}
"""The agents of each family, by the reference that they are compared with."""

PROBLEMS: tuple[Problem, ...] = (
    *((name, ANY_LOAD) for name in SURFACES),
    ("cpu10", 12.5),
    ("gpu", 500.0),
    ("cpu2-joint", 115.0),
    ("mobilenet_v2-joint-279", 81.5),
    *((name, ANY_LOAD) for name in MADE),
)
"""The problems: surfaces, simulated servers, a recording, and spaces made on purpose."""

FIRST_SEED = 6000  # no agent and no setting was chosen on these seeds
SEEDS, EPISODES = 30, 150


def ablation_settings(
    testbeds: Collection[str] | None = None,
    agents: Iterable[str] | None = None,
    seeds: int = SEEDS,
) -> tuple[Setting, ...]:
    """Return the settings of some testbeds and agents, by default of all.

    Examples
    --------
    >>> len(ablation_settings()), ablation_settings(["pool"], ["rrl-gp"])[0][:5]
    (170, ('pool', 10.0, 'rrl-gp', 30, 150))
    """
    names = [name for family in FAMILIES.values() for name in family] if agents is None else agents
    where = [problem for problem in PROBLEMS if testbeds is None or problem[0] in testbeds]
    return cross(where, dict.fromkeys(names, seeds), EPISODES, FIRST_SEED)


def ablation_runs(sweep: Sweep) -> pd.DataFrame:
    """Race the settings of a sweep, and return one row per run.

    Returns
    -------
    DataFrame
        The columns are `problem`, `agent`, `seed` and those of
        :data:`rrl.studies.outcomes.COMPARED`, as :func:`rrl.studies.outcomes.runs_table` has them.
    """
    runs = runs_table(sweep.run(), sweep.scenarios())
    names = runs["problem"].str.removesuffix("/s")
    return runs.assign(problem=names)[["problem", "agent", "seed", *COMPARED]]


def ablation_table(runs: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Compare every agent with the reference of its family, problem by problem.

    Parameters
    ----------
    runs : DataFrame
        See :func:`ablation_runs`. The agents have the same seeds, so the runs are paired. A family
        without its reference is left out.
    rng : numpy.random.Generator

    Returns
    -------
    DataFrame
        One row per family, problem, agent and measure. `median`, `median_low` and `median_high` are
        the median over the seeds with its 95 % interval. `ratio`, `low` and `high` are the
        geometric mean of the agent's number divided by the reference's, with its 95 % interval.
        `verdict` is "won" if the interval lies below 1, "lost" if it lies above, and else "tied".

    Examples
    --------
    >>> import pandas as pd
    >>> ours, other = (0, 2.0, 4.0, 1.0, 1.5), (0, 4.0, 4.0, 1.0, 3.0)
    >>> rows = [("pool", "rrl-gp", *ours), ("pool", "random", *other)]
    >>> runs = pd.DataFrame(rows, columns=["problem", "agent", "seed", *COMPARED])
    >>> table = ablation_table(runs, np.random.default_rng(0))
    >>> table.loc[table["agent"] == "random", "verdict"].tolist()
    ['lost', 'tied', 'tied', 'lost']
    """
    rows, draws = [], int(rng.integers(2**31))  # a row must not depend on which others there are
    for problem, there in runs.groupby("problem", sort=False):
        tables = {name: own.set_index("seed") for name, own in there.groupby("agent")}
        for reference, family in FAMILIES.items():
            for agent in (name for name in family if {name, reference} <= tables.keys()):
                for measure in COMPARED:
                    ours, own_rng = tables[agent][measure], np.random.default_rng(draws)
                    logs = np.log(ours / tables[reference][measure].loc[ours.index]).to_numpy()
                    row: dict[str, Any] = {"family": reference, "problem": problem}
                    row |= {"agent": agent, "measure": measure}
                    row |= interval("median", ours, own_rng, median_of(measure, EPISODES))
                    ratio, low, high = np.exp(bootstrap_interval(logs, own_rng, statistic=np.mean))
                    verdict = "won" if high < 1 else "lost" if low > 1 else "tied"
                    row |= {"ratio": ratio, "low": low, "high": high, "verdict": verdict}
                    rows.append(row)
    return pd.DataFrame(rows)


def make_ablation(sweep: Sweep) -> dict[str, pd.DataFrame]:
    """Race the missing settings, and return the rows of the only file of the table."""
    return {"runs": ablation_runs(sweep.of(ablation_settings()))}
