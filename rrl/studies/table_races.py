"""Race agents on tables that somebody measured: one scenario per table, one row per run.

The command ``rrl race`` (:mod:`rrl.operating.racing`) reads the tables from a folder. An episode
costs the table's value with the noise of :class:`rrl.studies.problems.SurfaceServer`. Agents of one
table and seed meet the same noise, see :func:`rrl.studies.race.race`.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rrl.recording.table import from_table
from rrl.rivals.agents import maker
from rrl.studies.behaviour import code
from rrl.studies.days import Arrays
from rrl.studies.problems import SurfaceServer, surface
from rrl.studies.race import MEASURES, race, score
from rrl.studies.scenario import Scenario
from rrl.studies.sweeps import Sweep, Task
from rrl.support.errors import DataError

FAILED = "failed"
"""What a run has instead of measures if its agent cannot take the table: the reason."""


def table_scenario(
    name: str,
    table: Mapping[str, ArrayLike],
    knobs: Sequence[str],
    cost: str = "cost",
    noise: float = 0.07,
) -> Scenario:
    """Make a scenario of a table of costs; the rows of one configuration are averaged.

    Parameters
    ----------
    name : str
    table : DataFrame or mapping of str to array_like
        One row per measurement.
    knobs : sequence of str
        Names of the knob columns.
    cost : str, optional
        Name of the cost column.
    noise : float, optional
        See :class:`rrl.studies.problems.SurfaceServer`.

    Examples
    --------
    >>> table = {"threads": [1, 2, 2], "cost": [0.3, 0.1, 0.2]}
    >>> table_scenario("mine", table, ["threads"]).cost.round(2).tolist()
    [0.3, 0.15]
    """
    space = from_table(table, knobs)
    rows = space.indices(table)
    sums = np.bincount(rows, np.asarray(table[cost], dtype=float))
    return surface(name, space, sums / np.bincount(rows), noise)


def race_tables(
    scenarios: Sequence[Scenario],
    agents: Sequence[str],
    seeds: Sequence[int],
    episodes: int,
    *,
    build: str | os.PathLike[str] = "build",
    jobs: int = 1,
    progress: bool = True,
) -> pd.DataFrame:
    """Race agents on scenarios, and say in a line on stderr if an agent cannot take one.

    Parameters
    ----------
    scenarios : sequence of Scenario
        Each is a table of costs with a name of its own, see :func:`table_scenario`.
    agents : sequence of str
    seeds : sequence of int
    episodes : int
    build : path, optional
        The runs are kept below this folder, as the pieces of a :class:`rrl.Sweep` are. While the
        code stays the same, they are not repeated.
    jobs : int, optional
        The number of processes. The results do not depend on it.
    progress : bool, optional
        Whether to show a progress bar on stderr.

    Returns
    -------
    DataFrame
        One row per run, with the columns `table`, `agent` and `seed`, and the measures of
        :func:`rrl.studies.race.score`.

    Raises
    ------
    DataError
        If no agent can take any of the scenarios.

    Examples
    --------
    >>> line = table_scenario("line", {"a": [1, 2], "cost": [3.0, 1.0]}, ["a"])
    >>> runs = race_tables([line], ["tf-serving-default"], [0, 1], 5, progress=False)
    >>> runs["excess"].tolist()
    [2.0, 2.0]
    """
    tasks = {
        (scenario.name, agent, seed): _task(scenario, agent, seed, episodes)
        for scenario in scenarios
        for agent in agents
        for seed in seeds
    }
    sweep = Sweep((), build=build, workers=jobs)
    done = sweep.compute_pieces(list(tasks.values()), progress)
    rows, failed = [], dict[tuple[str, str], str]()
    for (key, task), found in zip(tasks.items(), done, strict=True):
        if FAILED in found:
            failed.setdefault(key[:2], found[FAILED].item())  # the other seeds say the same
            (sweep.folder / task.file).unlink(missing_ok=True)  # the next race tries again
        else:
            rows.append((*key, *(found[name].item() for name in MEASURES)))
    for (table, agent), reason in failed.items():
        print(f"rrl: {agent} cannot take the table {table}: {reason}", file=sys.stderr)
    if not rows:
        raise DataError("no agent can take any of the tables; choose others with --agents")
    return pd.DataFrame(rows, columns=["table", "agent", "seed", *MEASURES])


def _task(scenario: Scenario, agent: str, seed: int, episodes: int) -> Task:
    assert isinstance(scenario.server, SurfaceServer)
    table = scenario.space.fingerprint.encode() + scenario.cost.tobytes()
    digest, noise = hashlib.sha256(table).hexdigest(), scenario.server.noise
    about = "table", digest, noise, agent, code(), seed, episodes
    return Task(about, _run, (scenario, agent, seed, episodes))


def _run(scenario: Scenario, agent: str, seed: int, episodes: int) -> Arrays:
    try:
        return score(scenario, race(scenario, maker(agent), [seed], episodes))
    except Exception as error:  # whatever it is, the other runs go on
        return {FAILED: np.array([" ".join(f"{type(error).__name__}: {error}".split())])}


def over_lowest(table: pd.DataFrame) -> pd.DataFrame:
    """Divide the mean cost of each agent by that of the cheapest agent on the same table.

    The mean cost over the best is 1 more than the excess.

    Parameters
    ----------
    table : DataFrame
        The columns are `table`, `agent`, `excess` and `stuck`, see
        :func:`rrl.studies.outcomes.what_clients_pay`.

    Returns
    -------
    DataFrame
        One row per agent, lowest first: the number of `tables` that it took, the `geometric_mean`
        over these tables, the `highest` and the table where (`on`) it is, and the mean of `stuck`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"table": ["a", "a", "b", "b"], "agent": ["x", "y"] * 2, "stuck": 0.0}
    >>> over_lowest(pd.DataFrame(rows | {"excess": [0.0, 3.0, 1.0, 1.0]}))["on"].to_dict()
    {'x': 'a', 'y': 'a'}
    """
    costs = 1 + table.pivot(index="table", columns="agent", values="excess")
    over = costs.div(costs.min(axis=1), axis=0)
    columns = {
        "tables": over.notna().sum(),
        "geometric_mean": np.exp(np.log(over).mean()),
        "highest": over.max(),
        "on": over.idxmax(),
        "stuck": table.groupby("agent")["stuck"].mean(),
    }
    return pd.DataFrame(columns).sort_values("geometric_mean")
